"""What runs now, as it stands in a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.cli._limit_bars import SpentLimit, spent_limits, tightest
from otel_harn_steps.cli._run_tree import Branch, branches
from otel_harn_steps.cli._spend_text import calls_cell, cost_cell, spent_picousd
from otel_harn_steps.cli._text_table import MARGIN, Cell, Column, Line, cut, label, spread, table, width_of
from otel_harn_steps.store import Filter, RunRow, Spend, StepRun
from otel_harn_steps.store._numbers import counted, dollars, duration

if TYPE_CHECKING:
    from otel_harn_steps.store import Store

JUST_ENDED_S: Final = 60
"""For so long, what has ended is still shown."""
_NS_PER_S: Final = 10**9
_LONGEST_CALL_NS: Final = 900 * _NS_PER_S
_WEEK_NS: Final = 7 * 86_400 * _NS_PER_S
_SHORT_ID: Final = 8
_WIDEST_BAR: Final = 30
_STYLES: Final = {"running": "", "left": "yellow", "failed": "red", "skipped": "red", "escalated": "red"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ran at a moment.

    Attributes:
        at_ns: the moment, in nanoseconds since the epoch.
        runs: those that run, or have just ended.
        steps: of these runs, by run: those that run or have just ended.
        minute_picousd: what the calls that ended within the last minute have spent, estimates included: by the id of
            the step or of the run that they belong to; a step has what the steps below it have spent too.
    """

    at_ns: int
    runs: Sequence[RunRow]
    steps: Mapping[str, Sequence[StepRun]]
    minute_picousd: Mapping[str, int]


class View(NamedTuple):
    """How a snapshot is looked at: what comes first ("cost", "minute", "new"), and a part of the names to show."""

    sort: str = "cost"
    wanted: str = ""
    is_typing: bool = False


class Watch:
    """Looks at a store again and again.

    Args:
        chosen: what to look at. Without a beginning, it is runs with calls or steps in the last week.
    """

    def __init__(self, store: Store, chosen: Filter) -> None:
        self._store = store
        self._chosen = chosen

    def look(self, now_ns: int) -> Snapshot:
        """What runs now, with what is new in the store.

        Raises:
            OSError, ValueError: the store cannot be read.
        """
        self._store.update()
        just = now_ns - JUST_ENDED_S * _NS_PER_S
        runs = [
            run
            for run in self._store.runs(self._since(now_ns - _WEEK_NS), limit=None)
            if run.status == "running" or (run.ended_at is not None and run.ended_at >= just)
        ]
        steps: dict[str, Sequence[StepRun]] = {}
        minute: dict[str, int] = defaultdict(int)
        for run in runs:
            living = list(self._store.step_runs(replace(self._chosen, run=run.run_id), living_since=just))
            above = {step.step_id: step.parent_id for step in living}
            for call in self._store.calls(replace(self._chosen, run=run.run_id, since=just - _LONGEST_CALL_NS)):
                if call.outcome in BILLED and call.sent_at + (call.duration_ns or 0) >= just:
                    spent = (call.cost_picousd or 0) + call.estimated_cost_picousd
                    for each in (run.run_id, *_upwards(call.step_id, above)):
                        minute[each] += spent
            steps[run.run_id] = living
        return Snapshot(now_ns, runs, steps, minute)

    def _since(self, since: int) -> Filter:
        return self._chosen if self._chosen.since is not None else replace(self._chosen, since=since)


def _upwards(step_id: str | None, above: Mapping[str, str | None]) -> Iterator[str]:
    seen: set[str] = set()
    while step_id is not None and step_id not in seen:  # a damaged journal may lead in a circle
        seen.add(step_id)
        yield step_id
        step_id = above.get(step_id)


# -- lines -------------------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    name: Cell
    age: str
    calls: Cell
    own: Cell
    total: Cell
    minute: Cell
    budget: Cell


def snapshot_lines(snapshot: Snapshot, view: View, width: int, height: int | None = None) -> list[Line]:
    """The lines of a snapshot. None of them is wider than `width`; `height`: they are no more. None: all."""
    rows = [row for run in _sorted_runs(snapshot, view) for row in _rows(snapshot, run, view)]
    # Besides the rows there are the head, the headings, and a line that says how many rows have no room.
    room = len(rows) if height is None or len(rows) <= height - 2 else max(height - 3, 0)
    lines = table(_columns(rows[:room]), width) if rows[:room] else []
    more = len(rows) - room
    if more > 0:
        lines.append(Line.of(f"{MARGIN}and {more:,} more lines", "dim"))
    if not rows:
        nothing = f"no name has {label(view.wanted)!r} in it" if view.wanted else "nothing runs now"
        lines = [Line.of(f"{MARGIN}{nothing}", "dim")]
    return [_head(snapshot, view, width), *lines][:height]


def _head(snapshot: Snapshot, view: View, width: int) -> Line:
    running = sum(run.status == "running" for run in snapshot.runs)
    total = Spend()
    for run in snapshot.runs:
        total.add(run.spend)
    minute = sum(snapshot.minute_picousd.get(run.run_id, 0) for run in snapshot.runs)
    cell = cost_cell(total)
    about = f"{counted(running, 'run')} · {dollars(minute)} a minute · {(cell.text + cell.mark) or dollars(0)} in all"
    at = datetime.fromtimestamp(snapshot.at_ns / _NS_PER_S).astimezone()
    if view.is_typing or view.wanted:
        right = f"/{label(view.wanted, 20)}{'_' if view.is_typing else ''}"
    else:
        right = f"by {view.sort} · {at:%H:%M:%S}"
    left = Line.of(cut(about, width), "bold")
    return spread(left, right if left.width + width_of(right) + 2 <= width else "", width, "dim")


def _columns(rows: Sequence[_Row]) -> list[Column]:
    columns = [
        Column(heading="run and step", cells=[row.name for row in rows], is_name=True, leaves=None),
        Column(heading="for", cells=[Cell(row.age) for row in rows], leaves=2),
        Column(heading="calls", cells=[row.calls for row in rows], leaves=0),
        Column(heading="own", cells=[row.own for row in rows], leaves=0),
        Column(heading="total", cells=[row.total for row in rows], leaves=None),
        Column(heading="$/min", cells=[row.minute for row in rows], leaves=3),
        Column(heading="budget", cells=[row.budget for row in rows], is_name=True, narrowest=_WIDEST_BAR, leaves=1),
    ]
    return [columns[0], *(column for column in columns[1:] if any(cell.text or cell.mark for cell in column.cells))]


def _rows(snapshot: Snapshot, run: RunRow, view: View) -> Iterator[_Row]:
    below = [
        row
        for branch in _sorted_branches(snapshot, snapshot.steps.get(run.run_id, ()), view)
        if not view.wanted or view.wanted.lower() in branch.path.lower()
        for row in (_row_of(snapshot, branch),)
    ]
    name = f"{run.name} {run.run_id[:_SHORT_ID]}"
    if view.wanted and not below and view.wanted.lower() not in name.lower():
        return
    limits = spent_limits(run.limits, run.spend, (snapshot.at_ns - run.started_at) / _NS_PER_S)
    yield _Row(
        name=Cell(name, style="bold" if run.status == "running" else "dim"),
        age=_age(run.started_at, run.ended_at, snapshot.at_ns),
        calls=calls_cell(run.spend),
        own=Cell(""),
        total=cost_cell(run.spend),
        minute=_minute(snapshot, (run.run_id,)),
        budget=_budget(max(limits, key=lambda limit: limit.share, default=None)),
    )
    yield from below


def _row_of(snapshot: Snapshot, branch: Branch) -> _Row:
    running = branch.statuses["running"]
    name = branch.name
    if len(branch.runs) > 1:
        name = f"{name} x {len(branch.runs):,}" + (f", {running:,} running" if running else "")
    elif not running:
        name = f"{name}: {branch.runs[0].status}"
    oldest = next((step for step in branch.runs if step.status == "running"), branch.runs[-1])
    limits = (tightest(step) for step in branch.runs if step.status == "running" or not running)
    return _Row(
        name=Cell(name, style=_style(branch), depth=branch.depth + 1),
        age="" if oldest.started_at is None else _age(oldest.started_at, oldest.ended_at, snapshot.at_ns),
        calls=calls_cell(branch.own),
        own=cost_cell(branch.own),
        total=cost_cell(branch.total),
        minute=_minute(snapshot, [step.step_id for step in branch.runs]),
        budget=_budget(max((each for each in limits if each is not None), key=lambda each: each.share, default=None)),
    )


def _style(branch: Branch) -> str:
    return next((style for status, style in _STYLES.items() if branch.statuses[status]), "dim")


def _budget(limit: SpentLimit | None) -> Cell:
    return Cell("") if limit is None else limit.cell


def _minute(snapshot: Snapshot, ids: Iterable[str]) -> Cell:
    spent = sum(snapshot.minute_picousd.get(each, 0) for each in ids)
    return Cell(dollars(spent) if spent else "")


def _age(started_at: int, ended_at: int | None, now_ns: int) -> str:
    return duration(max((now_ns if ended_at is None else ended_at) - started_at, 0) / _NS_PER_S)


# -- order -------------------------------------------------------------------------------------------------------------


def _sorted_runs(snapshot: Snapshot, view: View) -> list[RunRow]:
    def key(run: RunRow) -> tuple[bool, int]:
        return run.status != "running", -_weight(view, snapshot, (run.run_id,), run.spend, run.started_at)

    return sorted(snapshot.runs, key=key)


def _sorted_branches(snapshot: Snapshot, steps: Sequence[StepRun], view: View) -> Iterator[Branch]:
    """The tree of steps; those beside each other of one name are one line, the first by the chosen order first."""

    def key(step: StepRun) -> tuple[bool, int]:
        return step.status != "running", -_weight(view, snapshot, (step.step_id,), step.total, step.started_at)

    yield from branches(sorted(steps, key=key), 1)


def _weight(view: View, snapshot: Snapshot, ids: Iterable[str], spend: Spend, started_at: int | None) -> int:
    if view.sort == "minute":
        return sum(snapshot.minute_picousd.get(each, 0) for each in ids)
    return (started_at or 0) if view.sort == "new" else spent_picousd(spend)
