"""What can be asked of a store, and what it answers: the same for the terminal, the page, and a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._spend import Spend

Dimension = Literal["step", "path", "agent", "model", "provider", "run", "program", "day", "status"]
"""What a report may group by; also `label:NAME`."""

DIMENSIONS: Final[tuple[str, ...]] = (
    "step", "path", "agent", "model", "provider", "run", "program", "day", "status",
)  # fmt: skip
LABEL: Final = "label:"

QUARTER_NS: Final = 15 * 60 * 10**9
"""Spend is kept by quarters of an hour: every time zone's day is made of them. `since` and `until` are rounded down."""

StepStatus = Literal["completed", "failed", "skipped", "escalated", "cancelled", "running", "left"]
"""How a run of a step has ended. `running`: it has not. `left`: its process has ended and it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which calls, by when they were sent, and by what. Empty is all.

    Attributes:
        since, until: nanoseconds since the epoch, from and before; rounded down to a quarter of an hour.
        steps: patterns as of `fnmatch`, of which one matches the step's name or its path.
        agents, models, providers, programs: patterns of the same kind.
        labels: labels that a call must have.
        run: the id of one run.
    """

    since: int | None = None
    until: int | None = None
    steps: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The cost of one run, over several: in pico-dollars, estimates included. None: the cost of none is known."""

    p50_picousd: int | None = None
    p95_picousd: int | None = None
    p99_picousd: int | None = None
    most_picousd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a report.

    Attributes:
        key: what the row is of: a step's name, a path, a model, a day as "2026-11-26", a run's id, ... Empty for calls
            that have none: no step, no agent, no such label.
        name: what to show for it.
        spend: of its own calls. The rows' sum is the report's total.
        total: with the steps below. None where the rows are no steps.
        runs: how many runs of programs have calls in it.
        entered: how many runs of the step have begun. None where the rows are no steps.
        costs: of one run: of the step with all below it, else of the program within this row.
        breached: how many runs of steps say that a limit was crossed.
        wasted_picousd: spent in steps that ended failed or skipped, or below one; estimates included.
        headroom: what is left of the step's `max_usd` at the 95th percentile, as a share; below 0: it is over. None: no
            such limit.
        trend: pico-dollars by the report's buckets, estimates included.
    """

    key: str
    name: str
    spend: Spend
    total: Spend | None = None
    runs: int = 0
    entered: int | None = None
    costs: Costs = field(default_factory=Costs)
    breached: int = 0
    wasted_picousd: int = 0
    headroom: float | None = None
    trend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Spend by something.

    Attributes:
        by: what the rows are: a `Dimension`, or `label:NAME`.
        rows: the most expensive first; days in their order.
        total: of all calls that the filter lets through.
        before: what the period of the same length before it has spent. None: there is no beginning.
        runs, before_runs: how many runs of programs have calls in it, and in the period before.
        costs: of one run of a program.
        breached: how many runs of steps say that a limit was crossed; breached_steps: of how many steps.
        entered: how many runs of steps have begun.
        wasted_picousd, failed_picousd: as `Row.wasted_picousd`, and the part of it in or below failed steps.
        buckets: the beginnings of the buckets of every trend, in nanoseconds since the epoch: days in local time, hours
            where the period is at most two days, weeks where it is longer than 120 days.
        trend: of all rows together.
        refused, failed: calls that a budget did not let out, and that the provider rejected: billed to nobody.
        damaged: lines of journals that could not be read.
    """

    by: str
    filter: Filter
    rows: tuple[Row, ...]
    total: Spend
    before: Spend | None = None
    runs: int = 0
    before_runs: int | None = None
    costs: Costs = field(default_factory=Costs)
    breached: int = 0
    breached_steps: int = 0
    entered: int = 0
    wasted_picousd: int = 0
    failed_picousd: int = 0
    buckets: tuple[int, ...] = ()
    trend: tuple[int, ...] = ()
    refused: int = 0
    failed: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run of a program.

    Attributes:
        program: the base name of its script or module.
        started_at, ended_at: nanoseconds since the epoch. `ended_at` None: it has not ended, as far as is known.
        status: "running", "ended" (with `exit_code` where `otel-harn-steps run` has seen it), "left" (its processes
            are gone, and nobody has seen its end).
        over: what has ended it, if that was its budget.
        limits: the budget of the run, by the names of a step's; in dollars and seconds.
        breached: how many runs of steps say that a limit was crossed.
        source: what it was read from: "journal", or the kind of an import, such as "claude-code".
    """

    run_id: str
    name: str
    program: str
    started_at: int
    ended_at: int | None
    status: Literal["running", "ended", "left"]
    exit_code: int | None
    over: str | None
    limits: Mapping[str, float]
    spend: Spend
    entered: int
    breached: int
    wasted_picousd: int
    source: str = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One run of a step.

    Attributes:
        own, total: what its calls have spent, and with those of the steps below it.
        started_at, ended_at: nanoseconds since the epoch. None: not known; it has not ended.
        status: how it has ended.
        breach: the limit that was crossed; None for none.
        error: the message of the error that ended it, cut to 1,000 characters.
        limits: its limits by name; in tokens, dollars, calls, seconds.
        budget_events: as in `CompletedStep`.
    """

    step_id: str
    run_id: str
    parent_id: str | None
    name: str
    path: str
    agent: str | None
    labels: Mapping[str, str]
    started_at: int | None
    ended_at: int | None
    status: StepStatus
    breach: str | None
    error: str | None
    limits: Mapping[str, Any]
    own: Spend
    total: Spend
    detail: str | None = None
    trace_id: str | None = None
    error_boundary: str | None = None
    budget_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """A process of a run. `status` "left": it is gone, and had not ended what is open in it."""

    process_id: int
    parent_process_id: int | None
    program: str
    started_at: int
    status: Literal["running", "ended", "left"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """One run with all that it did.

    Attributes:
        steps: its runs of steps, each after the one around it, else in the order in which they began.
        calls: its calls, also those of no step, in the order in which they were sent. `outcome` "open": in flight, or
            left by a process that is gone.
        notes: what was noted: (event, facts, how often).
        damaged: lines of its journals that could not be read, as text.
    """

    run: RunRow
    steps: tuple[StepRun, ...]
    calls: tuple[CallRow, ...]
    processes: tuple[ProcessRow, ...]
    notes: tuple[tuple[str, Mapping[str, Any], int], ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Spend by time and key, for a chart: `values[i][j]` pico-dollars of `keys[i]` in the bucket that begins at
    `buckets[j]`. The last key is "other" where there are more than were asked for (`has_other`).
    """

    by: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    buckets: tuple[int, ...]
    values: tuple[tuple[int, ...], ...]
    has_other: bool = False
