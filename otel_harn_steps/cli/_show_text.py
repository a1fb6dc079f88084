"""A run as it stands in a terminal: a headline, its steps as a tree, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps.cli._limit_bars import breached_limit, spent_limits, tightest
from otel_harn_steps.cli._models_line import models_line
from otel_harn_steps.cli._notes import UNSEEN_CALL
from otel_harn_steps.cli._run_tree import MOST_SIBLINGS, Branch, branches
from otel_harn_steps.cli._spend_text import calls_cell, cost_cell, spent_picousd, tokens_cell, unknown_remarks
from otel_harn_steps.cli._table import ending_of
from otel_harn_steps.cli._terminal import DEFAULT_WIDTH
from otel_harn_steps.cli._text_table import (
    ELLIPSIS,
    MARGIN,
    Cell,
    Column,
    Line,
    beside,
    flowed,
    folded,
    label,
    spread,
    table,
    width_of,
)
from otel_harn_steps.cli._unseen import unseen_requests
from otel_harn_steps.store import RunDetail, RunRow, Spend, StepRun
from otel_harn_steps.store._numbers import counted, duration

_MOST_BRANCHES: Final = 200
_MOST_IN_FLIGHT: Final = 3
_NS_PER_S: Final = 10**9
_SHORT_ID: Final = 8
_WIDEST_BAR: Final = 40
_NARROWEST_NAME: Final = 12
_STYLES: Final = {"failed": "red", "skipped": "red", "escalated": "red", "left": "yellow", "running": "cyan"}


def run_detail_lines(
    detail: RunDetail, *, now_ns: int, width: int = DEFAULT_WIDTH, has_all: bool = False
) -> list[Line]:
    """The lines of a run. `has_all`: every run of a step has a line of its own, and no line is left out."""
    rows = list(branches(detail.steps, None if has_all else MOST_SIBLINGS))
    kept = rows if has_all else rows[:_MOST_BRANCHES]
    lines, notes = _tree(kept, _without_step(detail.calls), width, now_ns)
    more = len(rows) - len(kept)
    right_edge = min(max((line.width for line in lines), default=width), width)
    below = [*notes, *_remarks(detail)]
    return [
        _head(detail.run, now_ns, width, right_edge),
        *(Line.of(line, "dim") for line in flowed(_budget(detail.run, now_ns), width)),
        *lines,
        *([Line.of(f"{MARGIN}and {more:,} more: --all", "dim")] if more else []),
        *map(Line.of, models_line(_models(detail.calls), width)),
        *(Line.of(line, "dim") for remark in below for line in folded(remark, width)),
    ]


def run_about(run: RunRow, now_ns: int) -> list[str]:
    """When a run was, how long it took, and how it ended: `26 Nov 14:03`, `42 s`, `exit 0`."""
    when = [_when(run.started_at, now_ns)] if run.started_at else []
    took = duration(_took_s(run, now_ns))
    if run.status == "running":
        return [*when, f"running for {took}"]
    if run.status == "left":
        return [*when, took, "left: its processes are gone"]
    return [*when, took, "ended" if run.exit_code is None else ending_of(run.exit_code)]


def _took_s(run: RunRow, now_ns: int) -> float:
    ended_at = now_ns if run.ended_at is None else run.ended_at
    return max(ended_at - run.started_at, 0) / _NS_PER_S if run.started_at else 0.0


def _when(at_ns: int, now_ns: int) -> str:
    at, now = (datetime.fromtimestamp(each / _NS_PER_S).astimezone() for each in (at_ns, now_ns))
    if at.date() == now.date():
        return f"{at:%H:%M}"
    return f"{at.day} {at:%b %H:%M}" if at.year == now.year else f"{at.day} {at:%b %Y}"


def _head(run: RunRow, now_ns: int, width: int, right_edge: int) -> Line:
    cell = cost_cell(run.spend)
    cost = cell.text + cell.mark
    limit = next((limit for limit in spent_limits(run.limits, run.spend) if limit.name == "max_usd"), None)
    if limit is not None:
        cost = f"{cost or limit.spent} of {limit.allowed}"
    about = [f"run {run.run_id[:_SHORT_ID]}", *run_about(run, now_ns)]
    while len(about) > 2 and width_of(" · ".join(about)) + width_of(cost) + _NARROWEST_NAME > width:
        del about[1]  # a narrow terminal does without the time, and then without how long it took
    said = " · ".join(about)
    room = width - width_of(said) - width_of(cost) - len(MARGIN) - 3
    name = label(run.name or run.program or run.run_id, max(room, _NARROWEST_NAME))
    return spread(Line.of(f"{name} · {said}", "bold"), cost, right_edge, "bold")


def _budget(run: RunRow, now_ns: int) -> Iterator[str]:
    """The run's own budget, and where the run was read from."""
    for limit in spent_limits(run.limits, run.spend, _took_s(run, now_ns)):
        yield limit.cell.text
    if run.source != "journal":
        yield f"from {label(run.source)}"


# -- the tree ----------------------------------------------------------------------------------------------------------


def _tree(rows: Sequence[Branch], without: Spend, width: int, now_ns: int) -> tuple[list[Line], list[str]]:
    """The table, and what has no room beside it."""
    has_rest = bool(without.calls or without.open_calls)
    if not rows and not has_rest:
        return [], []
    own = [*(row.own for row in rows), *([without] if has_rest else [])]
    total = [*(row.total for row in rows), *([without] if has_rest else [])]
    titles = [Cell(_title(row), depth=row.depth, style=_style(row)) for row in rows]
    rest = [Cell("")] if has_rest else []
    columns = [
        Column(
            heading="step",
            cells=[*titles, *([Cell(NO_STEP, style="dim")] if has_rest else [])],
            is_name=True,
            leaves=None,
        ),
        Column(heading="calls", cells=list(map(calls_cell, own)), leaves=2),
        Column(heading="input", cells=[tokens_cell(each, each.input_tokens) for each in own], leaves=1),
        Column(heading="cached", cells=[tokens_cell(each, each.cache_read_tokens) for each in own], leaves=1),
        Column(heading="output", cells=[tokens_cell(each, each.output_tokens) for each in own], leaves=1),
        Column(heading="took", cells=[*(_took(row, now_ns) for row in rows), *rest], leaves=0),
        Column(heading="own", cells=list(map(cost_cell, own)), leaves=4),
        Column(heading="total", cells=list(map(cost_cell, total)), leaves=None),
        Column(
            heading="budget", cells=[*map(_budget_cell, rows), *rest], leaves=3, is_name=True, narrowest=_WIDEST_BAR
        ),
    ]
    lines = table([column for column in columns if any(cell.text or cell.mark for cell in column.cells)], width)
    notes = ["", *map(_note, rows), *([""] if has_rest else [])]
    noted = beside(lines, notes, width)
    if noted is not None:
        return noted, []
    return lines, [f"{label(row.path)}: {note}" for row, note in zip(rows, notes[1:], strict=False) if note]


def _title(row: Branch) -> str:
    if len(row.runs) > 1:
        return f"{row.name} x {len(row.runs):,}"
    detail = row.runs[0].detail
    return f"{row.name}: {detail}" if detail else row.name


def _style(row: Branch) -> str:
    return next((style for status, style in _STYLES.items() if row.statuses[status]), "")


def _took(row: Branch, now_ns: int) -> Cell:
    (first, *others) = row.runs
    if others or first.started_at is None or (first.ended_at is None and first.status != "running"):
        return Cell("")
    ended_at = now_ns if first.ended_at is None else first.ended_at
    return Cell(duration(max(ended_at - first.started_at, 0) / _NS_PER_S))


def _budget_cell(row: Branch) -> Cell:
    if len(row.runs) > 1:
        return Cell("")
    limit = tightest(row.runs[0])
    return Cell("") if limit is None else limit.cell


def _note(row: Branch) -> str:
    if len(row.runs) == 1:
        return _note_of_one(row.runs[0])
    ended = [f"{count:,} {status}" for status, count in row.statuses.most_common() if status != "completed"]
    breaches = Counter(run.breach for run in row.runs if run.breach is not None)
    return ", ".join([*ended, *(f"{count:,} over {label(limit)}" for limit, count in breaches.most_common())])


def _note_of_one(step: StepRun) -> str:
    parts = []
    if step.breach is not None:
        limit = breached_limit(step)
        amounts = "" if limit is None else f" ({limit.text})"
        parts.append(f"{step.status}: over {label(step.breach)}{amounts}")
    elif step.status == "left":
        parts.append("left: its process is gone")
    elif step.status != "completed":
        parts.append(f"{step.status}: {label(step.error)}" if step.error else step.status)
    return "; ".join([*parts, *(label(event) for event in step.budget_events)])


# -- below the tree ----------------------------------------------------------------------------------------------------


def _without_step(calls: Sequence[CallRow]) -> Spend:
    return spend_of([call for call in calls if call.step_id is None])


def spend_of(calls: Sequence[CallRow]) -> Spend:
    """What some calls have spent together."""
    spend = Spend()
    for call in calls:
        if call.outcome in BILLED:
            spend.bill(call)
        elif call.outcome == "open":
            spend.open_calls += 1
    return spend


def _models(calls: Sequence[CallRow]) -> list[tuple[tuple[str, str | None], Spend]]:
    """Providers and models, the most expensive first."""
    used: dict[tuple[str, str | None], list[CallRow]] = {}
    for call in calls:
        if call.outcome in BILLED or call.outcome == "open":
            used.setdefault((call.provider, call.model or call.requested_model), []).append(call)
    spends = {model: spend_of(its) for model, its in used.items()}
    return sorted(spends.items(), key=lambda each: (-spent_picousd(each[1]), -each[1].calls, str(each[0])))


def _remarks(detail: RunDetail) -> Iterator[str]:
    if detail.run.over is not None:
        yield f"ended by its budget: {label(detail.run.over, 80)}"
    yield from unknown_remarks(detail.run.spend)
    open_calls = [call for call in detail.calls if call.outcome == "open"]
    if open_calls:
        when = "now" if detail.run.status == "running" else "when its process ended"
        yield f"{ELLIPSIS} {counted(len(open_calls), 'call')} in flight {when}: {_in_flight(open_calls)}"
    for process in detail.processes:
        if process.status == "left":
            name = label(process.program)
            yield f"{ELLIPSIS} process {process.process_id} ({name}) is gone, and has not ended what it began"
    refused = sum(call.outcome == "refused" for call in detail.calls)
    if refused:
        yield f"{counted(refused, 'call')} refused by a budget, and billed to nobody"
    failed = sum(call.outcome == "failed" for call in detail.calls)
    if failed:
        yield f"{counted(failed, 'call')} rejected by the provider, and billed to nobody"
    yield from unseen_requests((facts, count) for event, facts, count in detail.notes if event == UNSEEN_CALL)
    for damage in detail.damaged[:_MOST_IN_FLIGHT]:
        yield f"! a line of its journals is left out, 1 of {len(detail.damaged)}: {label(damage, 100)}"
    trace_id = next((step.trace_id for step in detail.steps if step.trace_id is not None), None)
    if trace_id is not None:
        yield f"trace {label(trace_id)}"


def _in_flight(calls: Sequence[CallRow]) -> str:
    texts = [label(f"{call.requested_model or call.provider} in {call.path or call.step}") for call in calls]
    more = len(texts) - _MOST_IN_FLIGHT
    return ", ".join(texts[:_MOST_IN_FLIGHT]) + (f" and {more:,} more" if more > 0 else "")
