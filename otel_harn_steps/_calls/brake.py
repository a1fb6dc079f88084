"""The brake: a stream is stopped at the event at which its budgets cannot be met any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._calls.fields import fields_of

if TYPE_CHECKING:
    from otel_harn_steps._calls.budget_estimate import Output
    from otel_harn_steps._calls.client import ParsedResponse
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.ledger import OpenCall

# What is held more than has come, so that the accounts are not asked at each event.
_AHEAD: Final = 32
# Where events say what has been used. Some providers do in each event, and then nothing is to be estimated.
_USAGE: Final = ("usage", "usage_metadata", "usageMetadata")


class Brake:
    """Watches what a stream brings: more than its budgets hold for it is asked for, and may not be had."""

    __slots__ = ("_account", "_row")

    def __init__(self, account: Account, row: OpenCall) -> None:
        self._account = account
        self._row = row

    def crossed(self, output: Output) -> StepBudgetExceeded | None:
        """The breach that stops the stream. None: it goes on."""
        reservation = self._row.reservation
        if reservation is None:
            return None
        asked = reservation.asked
        # What a call allows at most is more certain than an estimate of what has come.
        came = output.tokens if asked.cap is None else min(output.tokens, asked.cap)
        reservation.arrived = came
        if came <= asked.output_tokens:
            return self._account.overspent(self._row.labelled)
        labelled = self._row.labelled
        if self._account.grow(reservation, asked.with_output(came + _AHEAD), labelled) is None:
            return None
        return self._account.grow(reservation, asked.with_output(came), labelled)


def may_report_usage(content: Any) -> bool:
    """Whether an event of a stream may say what the stream has used so far."""
    fields = fields_of(content)
    return any(fields.get(name) is not None for name in _USAGE)


def output_so_far(parsed: ParsedResponse) -> int | None:
    """The output tokens that the provider has counted so far. None: it has not."""
    counts = [part.usage.output_tokens for part in parsed.parts]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
