"""Budgets that fit what steps have spent so far, tried on the ledger before they are suggested."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import escape
from math import ceil
from typing import Any, Final, Literal

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._history import History, budget_picousd
from otel_harn_steps.store._meter import Rule
from otel_harn_steps.store._numbers import counted, dollars, percent, shown
from otel_harn_steps.store._replay import replay

_FEW_RUNS: Final = 20
_VARIES: Final = 2
"""A limit of calls is suggested where the most calls of a run are so many times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Of one run of a step with all below it: the value that half of the runs do not exceed, and so on."""

    p50: int = 0
    p95: int = 0
    p99: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A budget for a step, or for a whole run of a program.

    Attributes:
        step: the step's name. None: it is for the run, as of `otel-harn-steps run --max-usd`.
        runs: how many of its runs have calls in them.
        cost, tokens, calls: of one of them: pico-dollars, tokens, calls. Estimates are in them.
        unknown_calls: calls of unknown cost, which no limit of dollars counts.
        limits: the budget, as a configuration file has it; it covers the steps below (`scope = "tree"`).
        stopped: how many runs it would have stopped.
        spent_picousd: of all its runs; `saved_picousd`: the part of that which would not have been spent.
        has_few_runs: whether there are too few runs for such a percentile to mean much.
        target: the function that the step is, where a configuration file says so.
    """

    step: str | None
    runs: int
    cost: Amounts
    tokens: Amounts
    calls: Amounts
    unknown_calls: int
    limits: Mapping[str, Any]
    stopped: int
    spent_picousd: int
    saved_calls: int
    saved_picousd: int
    has_few_runs: bool
    target: str | None = None


@dataclass(slots=True)
class _Run:
    cost: int = 0
    tokens: int = 0
    calls: int = 0
    unknown: int = 0

    def add(self, row: CallRow) -> None:
        self.cost += budget_picousd(row)
        self.tokens += (row.input_tokens or 0) + (row.output_tokens or 0) + row.estimated_tokens
        self.calls += 1
        self.unknown += row.cost_picousd is None and not row.estimated_cost_picousd


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a suggested budget is to be like.

    Attributes:
        stop_share: of the runs of a step, how many may cost more than its budget allows.
        preflight: how it is held.
        steps: patterns on the names of steps. Empty: all.
        targets: functions by the names of their steps.
    """

    stop_share: float = 0.01
    preflight: Literal["exhausted", "reserve"] = "reserve"
    steps: Sequence[str] = ()
    targets: Mapping[str, str] = field(default_factory=dict)


def suggest(history: History, wish: Wish) -> list[Suggestion]:
    """A budget for each step, the most expensive first."""
    names: dict[str, dict[str, _Run]] = defaultdict(dict)
    for row in history.calls():
        for place in history.around(row.step_id):
            if not wish.steps or any(fnmatchcase(place.name, pattern) for pattern in wish.steps):
                names[place.name].setdefault(place.step_id, _Run()).add(row)
    made: list[_Made] = [(name, list(runs.values())) for name, runs in names.items()]
    return sorted(_suggestions(history, made, wish), key=lambda each: (-each.spent_picousd, each.step or ""))


def suggest_for_runs(history: History, wish: Wish) -> Suggestion | None:
    """A budget for a whole run of a program. None: there is no run."""
    runs = []
    for rows in history.runs.values():
        runs.append(_Run())
        for row in rows:
            runs[-1].add(row)
    return _suggestions(history, [(None, runs)], wish)[0] if runs else None


_Made = tuple[str | None, list[_Run]]
"""The name of a step, and its runs. None for its name: they are runs of programs."""


def _suggestions(history: History, made: Sequence[_Made], wish: Wish) -> list[Suggestion]:
    limits = [_limits(runs, wish) for _, runs in made]
    rules = [
        Rule(
            name="" if name is None else escape(name),
            kind="run" if name is None else "step",
            scope="tree",
            limits={"preflight": wish.preflight} | each,
        )
        for (name, _), each in zip(made, limits, strict=True)
    ]
    results = replay(history, rules, each_alone=True).rules
    return [
        Suggestion(
            step=name,
            runs=len(runs),
            cost=_amounts(run.cost for run in runs),
            tokens=_amounts(run.tokens for run in runs),
            calls=_amounts(run.calls for run in runs),
            unknown_calls=sum(run.unknown for run in runs),
            limits=each,
            stopped=result.stopped,
            spent_picousd=result.spent_picousd,
            saved_calls=result.saved_calls,
            saved_picousd=result.saved_picousd,
            has_few_runs=len(runs) < _FEW_RUNS,
            target=None if name is None else wish.targets.get(name),
        )
        for (name, runs), each, result in zip(made, limits, results, strict=True)
    ]


def _limits(runs: Sequence[_Run], wish: Wish) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    cost = percentile((run.cost for run in runs), 1 - wish.stop_share)
    if cost:
        limits["max_usd"] = to_usd(_rounded_up(cost))
    if not cost or any(run.unknown for run in runs):  # dollars alone would not hold
        tokens = percentile((run.tokens for run in runs), 1 - wish.stop_share)
        if tokens:
            limits["max_tokens"] = _rounded_up(tokens)
    calls = _amounts(run.calls for run in runs)
    if not limits or calls.most >= _VARIES * calls.p50 > _VARIES:
        limits["max_calls"] = percentile((run.calls for run in runs), 1 - wish.stop_share)
    return limits | ({} if wish.preflight == "reserve" else {"preflight": wish.preflight})


def percentile(values: Iterable[int], share: float) -> int:
    """The least of the values that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered) - 1e-9), 1) - 1] if ordered else 0


def _amounts(values: Iterable[int]) -> Amounts:
    ordered = sorted(values)
    p50, p95, p99, most = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1))
    return Amounts(p50=p50, p95=p95, p99=p99, most=most)


def _rounded_up(amount: int) -> int:
    """The amount with two significant digits, and never less than it was."""
    power: int = 10 ** max(len(str(amount)) - 2, 0)
    return -(-amount // power) * power


# -- as a file ---------------------------------------------------------------------------------------------------------


def snippet(suggestions: Sequence[Suggestion]) -> str:
    """The budgets as a `harn-steps.toml`."""
    tables = ["\n".join(_table(each)) for each in suggestions if each.limits]
    named = [each for each in suggestions if each.target is None]
    head = ['frameworks = "auto"  # whose steps have no target\n'] if named else []
    return "\n".join([*head, "\n\n".join(tables)]) + "\n"


def _table(each: Suggestion) -> list[str]:
    budget = ", ".join(f"{name} = {_toml(value)}" for name, value in each.limits.items())
    return [
        *(f"# {line}" for line in explained(each)),
        "[[steps]]",
        *([] if each.target is None else [f"target = {_toml(each.target)}"]),
        f"name = {_toml(each.step or '')}",
        'scope = "tree"',
        f"budget = {{ {budget} }}",
    ]


def explained(each: Suggestion) -> list[str]:
    """Say what the budget is made of, and what it would have done."""
    cost = ", ".join(f"{name} {dollars(getattr(each.cost, name))}" for name in ("p50", "p95", "p99", "most"))
    lines = [
        f"{shown(each.step or 'a run')}: {counted(each.runs, 'run')}, {cost}",
        f"stops {percent(each.stopped, each.runs)} of them, {_saved(each)}",
    ]
    if each.has_few_runs:
        lines.append("few runs: the most expensive one decides")
    if each.unknown_calls:
        lines.append(f"{counted(each.unknown_calls, 'call')} of unknown cost, which max_usd does not count")
    return lines


def _saved(each: Suggestion) -> str:
    return f"saves {dollars(each.saved_picousd)} of {dollars(each.spent_picousd)}"


def _toml(value: object) -> str:
    """A value as TOML writes it. Of strings, JSON is a part of TOML, but for DEL and what is no character at all."""
    if isinstance(value, str):
        text = value.encode(errors="replace").decode()
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{value:_}" if isinstance(value, int) else number_text(value)


def number_text(value: object) -> str:
    """A number without an exponent."""
    return f"{value:.15f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
