"""A stream that budgets are to stop, each at its event: what has to hold at each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from otel_harn_steps import CallRow
from otel_harn_steps.testing._seen import Seen
from tests.replay.arrivals import Arrival, shown_output
from tests.replay.brakes import Brakes
from tests.replay.cases import Case
from tests.steps.sinks import Ledger

# The estimate of what came of a stream through what its provider counts of it, give or take some tokens: the numbers
# that docs/budgets.md promises.
LEAST, MOST, TOKENS = 0.5, 1.4, 15


def check_stops(  # noqa: PLR0917 -- what varies, and what it runs in
    budgets: Sequence[tuple[int, Arrival]],
    case: Case,
    opens: Callable[[str], AbstractContextManager[Any]],
    go: Callable[[Any, Seen], Awaitable[None]],
    brakes: Brakes,
    ledger: Ledger,
) -> None:
    """Make the call of a case with each of the budgets, and assert what came of it.

    Args:
        budgets: of output tokens, each with the event that is to stop the stream.
        case: the stream.
        opens: opens a client at an address.
        go: makes the call with it, reads the stream, and notes each event as "event" or "value".
        brakes: what runs it.
        ledger: the sink of the rows.
    """
    inputs = set()
    with brakes.opened(case, opens) as braked:
        for limit, arrival in budgets:
            seen = Seen("")

            async def read(client: Any, seen: Seen = seen) -> None:
                await go(client, seen)

            braked(limit, read).check()
            assert len(seen.values("event") or seen.values("value")) == arrival.seen, limit
            billed = _billed_input(_the_row(ledger), arrival)
            inputs |= {billed} if arrival.counted is None else set()
            assert is_near(arrival, shown_output(case)), arrival
    assert len(inputs) <= 1, inputs


def is_near(arrival: Arrival, whole: int | None) -> bool:
    """Whether what a budget counts at an event is near what the provider would have counted by then.

    Args:
        arrival: the event.
        whole: what the provider has counted of the whole stream. None: it has not.
    """
    if whole is None or arrival.counted is not None:
        return True
    truth = whole * arrival.share
    return LEAST * truth - TOKENS <= arrival.budgeted <= MOST * truth + TOKENS


def _the_row(ledger: Ledger) -> CallRow:
    (row,) = ledger.of("settled")
    assert isinstance(row, CallRow)
    assert row.outcome == "cut"
    ledger.events.clear()
    return row


def _billed_input(row: CallRow, arrival: Arrival) -> int:
    """The input tokens of a row whose output is billed as what had come: by the provider's count, if there is one."""
    if arrival.counted is not None:
        assert (row.output_tokens, row.estimated_tokens) == (arrival.counted, 0)
        return row.input_tokens or 0
    assert row.output_tokens is None
    return (row.input_tokens or 0) + row.estimated_tokens - arrival.budgeted
