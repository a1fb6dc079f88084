"""The brake: a stream is stopped at the event at which its budgets cannot be met any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_harn_steps._calls.budget_estimate import Output
    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.ledger import OpenCall

# What is held more than has come, so that the accounts are not asked at each event.
_AHEAD: Final = 32


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
            return self._account.overspent()
        if self._account.grow(reservation, asked.with_output(came + _AHEAD)) is None:
            return None
        return self._account.grow(reservation, asked.with_output(came))
