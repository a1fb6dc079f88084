"""Budgets replayed over the ledger, call by call: what they would have stopped, where, and what that saves.

A budget ends the run of the step that it is for: from that moment on, the calls of that run, and of the steps below it,
would not have been sent. What the program would have done instead is not known, so nothing else is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._history import History, StepPlace, budget_picousd
from otel_harn_steps.store._meter import Meter, Rule, RuleKind, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one budget would have done.

    Attributes:
        runs: runs of the step that it is for, with calls in them; of an agent or a run, the runs of programs.
        stopped: how many of them it would have stopped.
        spent_picousd: what its calls have cost, those of the steps below included where it covers them.
        saved_calls, saved_picousd: what would not have been sent.
    """

    rule: Rule
    runs: int
    stopped: int
    spent_picousd: int
    saved_calls: int
    saved_picousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What budgets would have done to a history.

    Attributes:
        rules: one for each budget, in their order.
        stops: the largest saving first.
        runs, stopped_runs: runs of programs, and how many of them have a stop.
        spent_picousd: what all calls have cost, estimates included.
        saved_calls, saved_picousd: what would not have been sent; each call once, however many budgets would refuse it.
        unknown_calls: calls of unknown cost, which no limit of dollars counts.
    """

    rules: tuple[RuleResult, ...]
    stops: tuple[Stop, ...]
    runs: int
    stopped_runs: int
    spent_picousd: int
    saved_calls: int
    saved_picousd: int
    unknown_calls: int


def replay(history: History, rules: Sequence[Rule], *, each_alone: bool = False) -> Replay:
    """Replay budgets over a history.

    Args:
        history: calls and runs of steps.
        rules: the budgets. The first whose name fits a step is that step's.
        each_alone: each of them by itself, as if there were no other: savings of several are not to be added up.
    """
    meters = _Meters(history, rules, each_alone=each_alone)
    saved_calls = saved_picousd = spent = unknown = 0
    for row in history.calls():
        cost = budget_picousd(row)
        spent += cost
        unknown += row.cost_picousd is None and not row.estimated_cost_picousd
        if meters.offer(row):
            saved_calls, saved_picousd = saved_calls + 1, saved_picousd + cost
    for meter in meters.all:
        meter.settle(inf)
    stops = [meter.stop() for meter in meters.all if meter.stopped_at is not None]
    return Replay(
        rules=tuple(_result(number, rule, meters.all) for number, rule in enumerate(rules)),
        stops=tuple(sorted(stops, key=lambda each: (-each.saved_picousd, each.at))),
        runs=len(history.runs),
        stopped_runs=len({each.run_id for each in stops}),
        spent_picousd=spent,
        saved_calls=saved_calls,
        saved_picousd=saved_picousd,
        unknown_calls=unknown,
    )


def _result(number: int, rule: Rule, meters: Iterable[Meter]) -> RuleResult:
    of_rule = [meter for meter in meters if meter.number == number]
    return RuleResult(
        rule=rule,
        runs=len(of_rule),
        stopped=sum(meter.stopped_at is not None for meter in of_rule),
        spent_picousd=sum(meter.asked_picousd for meter in of_rule),
        saved_calls=sum(meter.saved_calls for meter in of_rule),
        saved_picousd=sum(meter.saved_picousd for meter in of_rule),
    )


class _Meters:
    """The budgets of a history, each with what it has counted.

    Rules are in groups. Within a group, what one budget refuses another does not count; groups do not know each other.
    """

    def __init__(self, history: History, rules: Sequence[Rule], *, each_alone: bool) -> None:
        self._history = history
        self._rules = rules
        self._groups = [[number] for number in range(len(rules))] if each_alone else [list(range(len(rules)))]
        self._rules_of: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._meters: dict[tuple[int, str], Meter] = {}

    @property
    def all(self) -> Iterable[Meter]:
        """Those that have met a call."""
        return self._meters.values()

    def offer(self, row: CallRow) -> bool:
        """Send a call, if the budgets let it out. Returns whether one of them does not."""
        refused: set[int] = set()
        met = list(self._met(row))
        for group, meter, covers in met:
            meter.settle(row.sent_at)
            if group not in refused and (meter.has_stopped(row) or (covers and meter.refuses(row))):
                meter.save(row)
                refused.add(group)
        counted: set[int] = set()  # a step that is nested in one of its name has two meters of one rule
        for group, meter, covers in met:
            if covers and meter.number not in counted:
                counted.add(meter.number)
                meter.asked_picousd += budget_picousd(row)
            if covers and group not in refused:
                meter.begin(row)
        return bool(refused)

    def _met(self, row: CallRow) -> Iterator[tuple[int, Meter, bool]]:
        """The budgets of the run and of the steps that a call is in, the outermost first, and of its agent: the group,
        the meter, and whether it covers the call.
        """
        for group, number in self._rules_for("run", ""):
            yield group, self._meter(number, row.run_id, row, None), True
        for place in self._history.around(row.step_id):
            is_own = place.step_id == row.step_id
            for group, number in self._rules_for("step", place.name):
                covers = is_own or self._rules[number].scope == "tree"
                yield group, self._meter(number, place.step_id, row, place), covers
        if row.agent is not None:
            for group, number in self._rules_for("agent", row.agent):
                yield group, self._meter(number, f"{row.run_id} {row.agent}", row, None), True

    def _rules_for(self, kind: RuleKind, name: str) -> list[tuple[int, int]]:
        """By group, the rule of that name, else the first that fits."""
        found = self._rules_of.get((kind, name))
        if found is None:
            fitting = [number for number, rule in enumerate(self._rules) if rule.kind == kind and fits(rule, name)]
            fitting.sort(key=lambda number: self._rules[number].name != name)
            firsts = (
                (group, next((number for number in fitting if number in numbers), None))
                for group, numbers in enumerate(self._groups)
            )
            found = self._rules_of[kind, name] = [(group, first) for group, first in firsts if first is not None]
        return found

    def _meter(self, number: int, owner: str, row: CallRow, place: StepPlace | None) -> Meter:
        meter = self._meters.get((number, owner))
        if meter is None:
            meter = self._meters[number, owner] = Meter(number, self._rules[number], row, place)
        return meter


def fits(rule: Rule, name: str) -> bool:
    """Whether a budget is for a step or an agent of this name, or for any run."""
    return rule.kind == "run" or rule.name == name or fnmatchcase(name, rule.name)
