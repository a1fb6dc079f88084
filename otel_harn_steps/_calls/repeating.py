"""Calls that repeat, under a budget with `loop`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from otel_harn_steps._calls.fingerprints import Fingerprint, answer_fingerprint, request_fingerprint
from otel_harn_steps._calls.loops import LoopWatch
from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import Call, ClientAdapter, Request
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded

WITHOUT_TEXT: Final = frozenset({"embeddings", "image_generation"})
_COMPARING = guard("comparing a call with those before it", then="it counts as one that is new")


def asked_by(adapter: ClientAdapter, call: Call, request: Request) -> Fingerprint | None:
    """What a call asks, in digests: before anything is changed in it. None: its answer has no text to be compared."""
    if not request.is_read or request.operation in WITHOUT_TEXT:
        return None
    with _COMPARING:
        return request_fingerprint(adapter.sent_body(call))
    return None


def breach_of_loop(account: Account, asked: Fingerprint, answer: Any, response: object) -> StepBudgetExceeded | None:
    """The breach of a budget, where a call that was answered ends a loop.

    Args:
        account: what it is billed to.
        asked: as `asked_by` has it.
        answer: the response, or a stream's text.
        response: what is kept on the error.
    """
    with _COMPARING:
        return account.repeats(partial(_ends_loop, asked, answer_fingerprint(answer)), response)
    return None


def _ends_loop(asked: Fingerprint, answer: bytes, account: Account) -> bool:
    if account.loop_watch is None:
        account.loop_watch = LoopWatch(account.definition.budget.loop or 2)
    return cast("LoopWatch", account.loop_watch).add(asked, answer)
