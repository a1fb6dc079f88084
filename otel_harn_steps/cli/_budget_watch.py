"""Watching the budget of a run while the program lives: who goes on after the end is asked to stop, then told."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from otel_harn_steps._guard import guard
from otel_harn_steps._steps.shared_budget import SharedBudget, SharedBudgetError
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._spent_budget import SpentBudget

_LOOKS_EVERY_S: Final = 0.25


class BudgetWatch:
    """Looks at the shared budget from time to time, and sends SIGINT and then SIGTERM to who goes on after its end.

    That is a program that goes on calling after its hard stop, or lives on for a grace, or whose time is over. The
    signals reach the program and all its processes that have made calls, as Ctrl-C in a terminal does. After SIGTERM
    it waits.
    """

    def __init__(self, budget: SharedBudget, limits: Mapping[str, float], *, started_s: float, grace_s: float) -> None:
        self._budget, self._limits = budget, limits
        self._started_s, self._grace_s = started_s, grace_s
        self._signals = [signal.SIGINT, signal.SIGTERM]
        self._next_s = 0.0
        self._stopped_s: float | None = None
        self._ended_by: str | None = None
        self._complaint: str | None = None

    @property
    def waits_s(self) -> float:
        """How long to wait until the next look."""
        next_s = self._next_s or self._started_s + self._limits.get("max_seconds", math.inf)
        ahead_s = next_s - time.monotonic()
        return min(ahead_s, _LOOKS_EVERY_S) if ahead_s > 0 else _LOOKS_EVERY_S

    def look(self, pid: int, send: Callable[[int], None]) -> None:
        """Look once. `send` sends a signal to the program, whose id is `pid`."""
        with guard("watching the budget of the run"):
            self._look(pid, send)

    def _look(self, pid: int, send: Callable[[int], None]) -> None:
        if not self._signals or time.monotonic() < self._next_s:
            return
        if not self._next_s and not self._goes_on():
            return
        number = self._signals.pop(0)
        self._next_s = time.monotonic() + self._grace_s
        with suppress(OSError, ValueError):  # elsewhere than on POSIX there is no SIGINT to be sent
            send(number)
        for each in self._others(pid):
            with suppress(OSError, ValueError):
                os.kill(each, number)

    def _goes_on(self) -> bool:
        """Whether the run has ended, and the program has not."""
        is_over = time.monotonic() - self._started_s >= self._limits.get("max_seconds", math.inf)
        try:
            totals = self._budget.note_ended("max_seconds") if is_over else self._budget.totals()
        except SharedBudgetError as error:
            self._complaint = str(error)
            self._ended_by = "max_seconds" if is_over else None
            return is_over
        self._ended_by = totals.ended_by
        if totals.refused and self._stopped_s is None:
            self._stopped_s = time.monotonic()
        has_had_time = self._stopped_s is not None and time.monotonic() - self._stopped_s >= self._grace_s
        return is_over or has_had_time or totals.refused > max(1, len(self._living()))

    def _others(self, pid: int) -> list[int]:
        return [each for each in self._living() if each not in (pid, os.getpid())]

    def _living(self) -> list[int]:
        """The living processes that have made calls."""
        try:
            return self._budget.processes()
        except SharedBudgetError:  # what is the matter is found out at the end, too
            return []

    def finish(self, duration_s: float) -> SpentBudget:
        """What became of the budget, when the program has ended."""
        spent, ended_by = None, self._ended_by
        try:
            spent, _, ended_by, _ = self._budget.totals()
        except SharedBudgetError as error:
            self._complaint = str(error)
        if self._complaint is not None:
            complain(f"the run's budget could not be read, so that each process counted for itself: {self._complaint}")
        return SpentBudget(self._limits, spent, duration_s, ended_by or self._ended_by)
