"""What one budget counts of one run of a step, and when it would have ended that."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._history import StepPlace, budget_picousd, ended_at

_NS_PER_S: Final = 10**9
NOT_REPLAYED: Final = ("loop",)
"""Limits that need more than the ledger has: requests and answers are in no row."""
_SUMS: Final = ("max_usd", "max_tokens", "max_input_tokens", "max_output_tokens")


RuleKind = Literal["step", "agent", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A budget, and whose it is.

    Attributes:
        name: of the step or the agent, or a pattern.
        kind: whose budget it is. That of an agent counts the calls of all its steps in one run of the program; that of
            a "run" counts all calls of one, and its name says nothing.
        scope: "tree" covers the calls of the steps below too.
        limits: as a `Budget` has them, by name; `preflight` and `mode` as well.
        where: where it is written.
    """

    name: str
    kind: RuleKind = "step"
    scope: Literal["step", "tree"] = "step"
    limits: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def reserves(self) -> bool:
        """Whether a call is refused that would cross, and not only the one after it."""
        return bool(self.limits.get("preflight") == "reserve")

    @property
    def only_looks(self) -> bool:
        """Whether it stops nothing."""
        return bool(self.limits.get("mode") == "shadow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A run of a step, an agent or a program that a budget would have stopped.

    Attributes:
        limit: the limit that is crossed; `limit_value` in its own unit.
        at: when, in nanoseconds since the epoch.
        calls: how many calls it had made by then.
        spent_picousd: what these cost, as the budget counts: estimates included.
        saved_calls, saved_picousd: the calls after that, which would not have been sent. 0: the last call crossed.
    """

    rule: int
    name: str
    run_id: str
    step_id: str | None
    path: str
    limit: str
    limit_value: float
    at: int
    calls: int
    spent_picousd: int
    saved_calls: int
    saved_picousd: int


class Meter:
    """What the run of a step has spent, as its budget counts it."""

    __slots__ = (
        "_begun",
        "_in_flight",
        "_limits",
        "_place",
        "_row",
        "_rule",
        "_settled",
        "asked_picousd",
        "limit",
        "number",
        "saved_calls",
        "saved_picousd",
        "stopped_at",
    )

    def __init__(self, number: int, rule: Rule, row: CallRow, place: StepPlace | None) -> None:
        self.number = number
        self._rule = rule
        self._row = row
        self._place = place
        self._limits = limits_of(rule.limits)
        self._begun = Counter[str]()
        self._settled = Counter[str]()
        self._in_flight: list[tuple[float, str, CallRow]] = []
        self.stopped_at: int | None = None
        self.limit = ""
        self.asked_picousd = self.saved_calls = self.saved_picousd = 0

    def settle(self, now: float) -> None:
        """Count the calls that have ended by now, and see which limit they have crossed."""
        while self._in_flight and self._in_flight[0][0] <= now:
            end, _, row = heapq.heappop(self._in_flight)
            amounts = _amounts(row)
            self._settled.update(amounts)
            if self.stopped_at is None:
                crossed = next((name for name in _SUMS if self._is_over(name, self._settled[name])), None)
                if crossed is None and self._is_over("max_cost_per_call", amounts["max_usd"]):
                    crossed = "max_cost_per_call"
                if crossed is not None:
                    self.stopped_at, self.limit = int(end), crossed

    def has_stopped(self, row: CallRow) -> bool:
        """Whether the step was over when a call was sent."""
        return self.stopped_at is not None and self.stopped_at <= row.sent_at and not self._rule.only_looks

    def refuses(self, row: CallRow) -> bool:
        """Whether there is no room for a call. It would be the end of the step's run."""
        if self.stopped_at is not None:
            return False
        refused = self._refused_by(row)
        if refused is None:
            return False
        self.stopped_at, self.limit = row.sent_at, refused
        return not self._rule.only_looks

    def _refused_by(self, row: CallRow) -> str | None:
        if self._is_over("max_calls", self._begun["calls"] + 1):
            return "max_calls"
        started_at = self._row.sent_at if self._place is None else self._place.started_at or self._row.sent_at
        if self._is_over("max_seconds", (row.sent_at - started_at) / _NS_PER_S):
            return "max_seconds"
        if not self._rule.reserves:
            return None
        # What the call may spend is taken to be what it did spend: nothing that is reserved can be less.
        amounts = _amounts(row)
        if self._is_over("max_cost_per_call", amounts["max_usd"]):
            return "max_cost_per_call"
        return next((name for name in _SUMS if self._is_over(name, self._begun[name] + amounts[name])), None)

    def _is_over(self, name: str, amount: float) -> bool:
        limit = self._limits.get(name)
        return limit is not None and amount > limit

    def begin(self, row: CallRow) -> None:
        """A call is sent."""
        if self.stopped_at is None:
            self._begun.update(_amounts(row))
        heapq.heappush(self._in_flight, (ended_at(row), row.call_id, row))

    def save(self, row: CallRow) -> None:
        """A call is not sent."""
        self.saved_calls += 1
        self.saved_picousd += budget_picousd(row)

    def stop(self) -> Stop:
        """Where it has stopped the step."""
        value = self._rule.limits[self.limit]
        name = self._rule.name if self._place is None else self._place.name
        if self._rule.kind == "agent" and self._row.agent is not None:
            name = self._row.agent
        return Stop(
            rule=self.number,
            name=name,
            run_id=self._row.run_id,
            step_id=None if self._place is None else self._place.step_id,
            path=name if self._place is None else self._place.path,
            limit=self.limit,
            limit_value=float(value),
            at=self.stopped_at or 0,
            calls=self._begun["calls"],
            spent_picousd=self._begun["max_usd"],
            saved_calls=self.saved_calls,
            saved_picousd=self.saved_picousd,
        )


def limits_of(limits: Mapping[str, Any]) -> dict[str, float]:
    """The limits that can be replayed, by name; dollars as pico-dollars."""
    found: dict[str, float] = {}
    for name in (*_SUMS, "max_calls", "max_seconds", "max_cost_per_call"):
        value = limits.get(name)
        if value is not None:
            found[name] = (to_picousd(value) or 0) if name in ("max_usd", "max_cost_per_call") else value
    return found


def _amounts(row: CallRow) -> dict[str, int]:
    """What a call counts, by the limit that it counts for. An estimate may be all input, or all output."""
    inputs, outputs, estimated = row.input_tokens or 0, row.output_tokens or 0, row.estimated_tokens
    return {
        "max_usd": budget_picousd(row),
        "max_tokens": inputs + outputs + estimated,
        "max_input_tokens": inputs + estimated,
        "max_output_tokens": outputs + estimated,
        "calls": 1,
    }
