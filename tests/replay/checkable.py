"""Recorded cases for the conformance kit."""

from __future__ import annotations

from dataclasses import replace

from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.cases import Case


def checkable(recorded: Case, bill: Bill) -> Case:
    """The case with what it must cost, by the tests' own reading of the recorded usage."""
    if bill in (NO_CALL, UNMETERED_CALL):
        return recorded
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    usage: dict[str, int | None] = {name: getattr(bill, name) for name in names}
    if bill.unmetered_calls:
        usage = {name: count or None for name, count in usage.items() if count or name == "input_tokens"}
    return replace(recorded, usage=usage, model=recorded.response_model)
