"""The views of a store, made of records: each record is a run of a step, with what its own calls have spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
from otel_harn_steps.store import DIMENSIONS, Costs, Filter, Report, Row, Spend, StepRun
from otel_harn_steps.store._runs_of_rows import costs_of
from otel_harn_steps.store._views import LABEL

_OF_STEPS: Final = ("step", "path")
_WASTED: Final = ("failed", "skipped")
BY: Final = tuple(each for each in DIMENSIONS if each != "program")
"""What a report of records may group by; also `label:NAME`."""


def report_of(records: Sequence[CompletedStep], by: str, chosen: Filter) -> Report:
    """Spend by something.

    Raises:
        ValueError: records cannot be grouped by that.
    """
    if by not in BY and not (by.startswith(LABEL) and by != LABEL):
        raise ValueError(f"by must be one of {', '.join(BY)}, or label:NAME, not {by!r}")
    parts = [(key, record, spend) for record in records for key, spend in _parts(record, by)]
    own: dict[str, Spend] = {}
    for key, _, spend in parts:
        own.setdefault(key, Spend()).add(spend)
    of_steps = by in _OF_STEPS
    totals = _totals(records, by) if of_steps else {}
    runs: dict[str, list[CompletedStep]] = defaultdict(list)
    for key, record, _ in parts:
        if record.amends is None and record not in runs[key][-1:]:
            runs[key].append(record)
    spoiled = _spoiled(records)
    wasted: dict[str, int] = defaultdict(int)
    of_runs: dict[str, dict[str, Spend]] = defaultdict(dict)
    for key, record, spend in parts:
        of_runs[key].setdefault(record.run_id, Spend()).add(spend)
        if _id(record) in spoiled:
            wasted[key] += _picousd(spend)
    rows = [
        Row(
            key=key,
            name=key if by != "path" else runs[key][0].name if runs[key] else key.rpartition("/")[2],
            spend=spend,
            total=totals.get(key),
            runs=len({each.run_id for each in runs[key]}),
            entered=len(runs[key]) if of_steps else None,
            costs=_of_step(runs[key], spend) if of_steps else Costs() if by == "status" else _of_runs(of_runs[key]),
            breached=sum(each.breach is not None for each in runs[key]),
            wasted_picousd=wasted[key],
        )
        for key, spend in own.items()
    ]
    total = Spend()
    for spend in own.values():
        total.add(spend)
    entered = [each for each in records if each.amends is None]
    return Report(
        by=by,
        filter=chosen,
        rows=tuple(sorted(rows, key=(lambda row: row.key) if by == "day" else _most_expensive_first)),
        total=total,
        runs=len({each.run_id for each in entered}),
        costs=_of_runs(_by_run(parts)),
        breached=sum(each.breach is not None for each in entered),
        breached_steps=len({each.name for each in entered if each.breach is not None}),
        entered=len(entered),
        wasted_picousd=sum(wasted.values()),
    )


def step_runs_of(records: Sequence[CompletedStep]) -> list[StepRun]:
    """Every run of a step, in the order in which they began. Amendments are added to what they amend."""
    own: dict[str, Spend] = {}
    for record in records:
        own.setdefault(_id(record), Spend()).add(_own(record))
    runs = {each.step_id: each for each in records if each.amends is None}
    totals = {step_id: Spend() for step_id in runs}
    for step_id, spend in own.items():
        for above in _with_above(step_id, runs):
            totals[above].add(spend)
    return [
        StepRun(
            step_id=each.step_id,
            run_id=each.run_id,
            parent_id=each.parent_id,
            name=each.name,
            path=each.path,
            agent=each.agent,
            labels=each.labels,
            started_at=each.start_time,
            ended_at=each.end_time,
            status=each.status,
            breach=each.breach,
            error=each.error,
            limits={name: value for name in ("max_tokens", "max_usd") if (value := getattr(each, name)) is not None},
            own=own[each.step_id],
            total=totals[each.step_id],
            detail=each.detail,
            trace_id=each.trace_id,
            error_boundary=each.error_boundary,
            budget_events=each.budget_events,
        )
        for each in sorted(runs.values(), key=lambda run: run.start_time)
    ]


def _parts(record: CompletedStep, by: str) -> Iterator[tuple[str, Spend]]:
    """What a record has spent, by key. A step that has called nothing is a row all the same, where rows are steps."""
    if by in ("model", "provider"):
        for each in record.by_model:
            yield (each.provider if by == "provider" else each.model or ""), _spend(each)
    else:
        yield _key(record, by), _own(record)


def _key(record: CompletedStep, by: str) -> str:
    if by.startswith(LABEL):
        return record.labels.get(by.removeprefix(LABEL), "")
    if by == "day":
        return datetime.fromtimestamp(record.start_time / 1e9).astimezone().date().isoformat()
    name = {"step": "name", "run": "run_id"}.get(by, by)
    return str(getattr(record, name) or "")


def _own(record: CompletedStep) -> Spend:
    own = Spend()
    for each in record.by_model:
        own.add(_spend(each))
    return own


def _spend(spend: ModelSpend) -> Spend:
    # A record counts calls without a price and calls without usage, and a call may be both. How many of them are
    # covered by an estimate, it does not say: where there is one, all of them are taken to be.
    unknown = min(spend.llm_calls, spend.unpriced_calls + spend.unmetered_calls)
    cost, estimated = to_picousd(spend.cost_usd) or 0, to_picousd(spend.estimated_cost_usd) or 0
    return Spend(
        calls=spend.llm_calls,
        input_tokens=spend.input_tokens,
        output_tokens=spend.output_tokens,
        cache_read_tokens=spend.cache_read_tokens,
        cache_write_tokens=spend.cache_write_tokens,
        reasoning_tokens=spend.reasoning_tokens,
        cost_picousd=cost,
        priced_calls=max(spend.llm_calls - unknown, int(cost > 0)),
        unpriced_calls=spend.unpriced_calls,
        unmetered_calls=spend.unmetered_calls,
        unknown_calls=0 if estimated else unknown,
        estimated_calls=unknown if estimated else 0,
        estimated_tokens=spend.estimated_tokens,
        estimated_cost_picousd=estimated,
    )


def _totals(records: Iterable[CompletedStep], by: str) -> dict[str, Spend]:
    """What each step has spent with those below it, also where the record of the step around is not there yet."""
    totals: dict[str, Spend] = {}
    names: dict[str, str] = {each.path: each.name for each in records}
    for record in records:
        spend = _own(record)
        for key in {names[path] if by == "step" else path for path in _paths_above(record.path, names)}:
            totals.setdefault(key, Spend()).add(spend)
    return totals


def _paths_above(path: str, names: dict[str, str]) -> Iterator[str]:
    """The path, and those of the steps around it. A name may have a slash."""
    while path:
        if path in names:
            yield path
        name = names.get(path, path.rpartition("/")[2])
        path = path.removesuffix(name).removesuffix("/")


def _with_above(step_id: str | None, runs: dict[str, CompletedStep]) -> Iterator[str]:
    while step_id in runs:
        assert step_id is not None
        yield step_id
        step_id = runs[step_id].parent_id


def _spoiled(records: Iterable[CompletedStep]) -> set[str]:
    """The runs of steps that ended failed or skipped, and those below one."""
    runs = {each.step_id: each for each in records if each.amends is None}
    return {step_id for step_id in runs if any(runs[each].status in _WASTED for each in _with_above(step_id, runs))}


def _by_run(parts: Iterable[tuple[str, CompletedStep, Spend]]) -> dict[str, Spend]:
    spent: dict[str, Spend] = {}
    for _, record, spend in parts:
        spent.setdefault(record.run_id, Spend()).add(spend)
    return spent


def _of_runs(spent: Mapping[str, Spend]) -> Costs:
    return costs_of([_picousd(each) for each in spent.values() if each.calls > each.unknown_calls])


def _of_step(runs: Iterable[CompletedStep], spend: Spend) -> Costs:
    if spend.calls and spend.unknown_calls == spend.calls:
        return Costs()
    return costs_of([to_picousd(each.total_cost_usd + each.estimated_cost_usd) or 0 for each in runs])


def _id(record: CompletedStep) -> str:
    return record.amends or record.step_id


def _picousd(spend: Spend) -> int:
    return spend.cost_picousd + spend.estimated_cost_picousd


def _most_expensive_first(row: Row) -> tuple[int, int, str]:
    total = row.spend if row.total is None else row.total
    return -_picousd(total), -total.calls, row.key
