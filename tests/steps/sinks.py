"""Sinks that keep what they receive."""

from __future__ import annotations

from typing import Any

from otel_harn_steps import CallRow, CompletedStep, StartedStep, peek_completed_steps


class Ledger:
    """A sink of everything, in the order in which it came."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def call_sent(self, row: CallRow) -> None:
        self.events.append(("sent", row))

    def call_settled(self, row: CallRow) -> None:
        self.events.append(("settled", row))

    def step_started(self, started: StartedStep) -> None:
        self.events.append(("started", started))

    def step_ended(self, record: CompletedStep) -> None:
        self.events.append(("ended", record))

    def of(self, kind: str) -> list[Any]:
        """What came of a kind; first of all what the garbage collector has freed, which waits for somebody to ask."""
        peek_completed_steps()
        return [what for event, what in self.events if event == kind]
