"""What a budget assumes for what is not known of a call: nothing unknown is free."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._cost.estimate import generated, output_tokens, request_tokens
from otel_harn_steps._cost.price_book import dearest_picousd, price_of
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._guard import guard
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.ledger import bill

if TYPE_CHECKING:
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.totals import ModelCall


_MEASURED_WHOLE: Final = 8
"""As many events of a stream are measured one by one; then one in as many, which stands for all of them."""


class Output:
    """What a stream has sent so far, as numbers.

    Args:
        is_whole: whether all of it is to be known, its text too.
    """

    __slots__ = ("_events", "_more", "_parts", "_reported", "_seen", "_size")

    def __init__(self, *, is_whole: bool = False) -> None:
        self._size = self._more = self._events = self._seen = self._reported = 0
        self._parts: list[str] | None = [] if is_whole else None

    def add(self, event: Any) -> None:
        """Take in one event. Most streams report their usage: what is for those that do not has to be cheap."""
        if self._parts is not None:
            found = generated(event)
            if found.text:
                self._parts.append(found.text)
            weight = 1
        else:
            self._seen += 1
            if self._seen <= _MEASURED_WHOLE:
                weight = 1
            elif self._seen % _MEASURED_WHOLE == 0:
                weight = _MEASURED_WHOLE
            else:
                return
            found = generated(event)
        if found.text or found.more:
            self._size += found.size * weight
            self._more += found.more * weight
            self._events += weight

    def report(self, tokens: int) -> None:
        """The provider has said what all that came so far has used."""
        self._reported = tokens
        self._size = self._more = self._events = 0

    @property
    def tokens(self) -> int:
        """What the provider has counted, and an estimate of what came since."""
        return self._reported + output_tokens(self._size, self._events, self._more)

    @property
    def text(self) -> str | None:
        """The text. It stays in this process."""
        return None if self._parts is None else "".join(self._parts)


def estimated(
    call: ModelCall, *, asked: Any, output: Output | None, response: Any, at: float, host: str | None
) -> ModelCall:
    """`call` with the estimates that the settings ask for. Its measured numbers stay what they are.

    Args:
        call: what is known.
        asked: the body of the request.
        output: what a stream has sent.
        response: a whole answer.
        at: when it was sent, in seconds since the epoch.
        host: where.
    """
    usage, wanted = call.usage, settings()
    if usage is None or not usage.is_complete:
        if wanted.unmetered != "estimate":
            return call
        known = usage or Usage(None, None)
        guess_in = 0 if known.input_tokens is not None else request_tokens(asked)
        guess_out = 0 if known.output_tokens is not None else _output(output, response)
        tokens = guess_in + guess_out
        full = replace(
            known,
            input_tokens=guess_in if known.input_tokens is None else known.input_tokens,
            output_tokens=guess_out if known.output_tokens is None else known.output_tokens,
        )
        cost, _ = price_of(call.provider, call.model, full, call.terms, at, host=host)
        if cost is None:
            cost = dearest_picousd(call.provider, full) if wanted.unpriced == "estimate" else 0
        rest = max(0, cost - (call.cost_picousd or 0))
        return replace(call, estimated_tokens=tokens, estimated_picousd=rest, certainty="estimated")
    if call.cost_picousd is None and wanted.unpriced == "estimate":
        return replace(call, estimated_picousd=dearest_picousd(call.provider, usage))
    return call


def bill_at_once(account: Account, call: ModelCall, at: float) -> StepBudgetExceeded | None:
    """Bill a call that is over, with what a budget assumes of it. Returns the breach of a budget, to be raised.

    Args:
        account: what it is billed to.
        call: what is known of it.
        at: when it was made, in seconds since the epoch.
    """
    if account.is_covered:
        with guard("estimating a call"):
            call = estimated(call, asked=None, output=None, response=None, at=at, host=None)
    return bill(account, call)


def _output(output: Output | None, response: Any) -> int:
    if output is not None:
        return output.tokens
    found = generated(response)
    return output_tokens(found.size, 1 if found.text else 0, found.more)
