"""Records as JSON lines: what `JsonLinesSink` and `otel-harn-steps run --step-records FILE` write.

A record has what its step's own calls have spent together, by model. Each of the calls becomes a row with an equal
share of that (`_shares.py`). Amendments are added to the record that they amend first, because they may take back what
it has counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._telemetry import record as record_module
from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
from otel_harn_steps._telemetry.journal_lines import STEP_ENDED, step_ended_line, step_started_line
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
from otel_harn_steps.store._lines import decode
from otel_harn_steps.store.imports._lines import Problems, json_lines, stable_id
from otel_harn_steps.store.imports._runs import ImportedRun
from otel_harn_steps.store.imports._shares import Sum, rows_of
from otel_harn_steps.store.imports._writing import RecordsFolder

KIND: Final = "records"
_UNKNOWN: Final = "unknown"
_KEYS: Final = frozenset({"name", "function", "status", "llm_calls", "input_tokens", "cost_usd"})
_NEVER_NULL: Final = frozenset({"by_model", "budget_events", "labels", "path", "run_id", "step_id"})
_COUNTS: Final = tuple(each.name for each in fields(Sum) if not each.name.endswith("_picousd"))


def is_line(values: Mapping[str, Any]) -> bool:
    """Whether a line is of this kind."""
    return values.keys() >= _KEYS


def runs_in(files: Iterable[Path], folder: RecordsFolder, problems: Problems) -> Iterator[ImportedRun]:
    """The runs whose records are in the files, with those of their records that were imported before.

    Raises:
        OSError: a file cannot be read.
    """
    runs: dict[str, dict[str, CompletedStep]] = {}
    for path in files:
        for number, values in json_lines(path, problems):
            try:
                record = _record(values)
            except (TypeError, ValueError) as error:
                problems.add(path, number, str(error))
                continue
            runs.setdefault(record.run_id, {}).setdefault(_identity(record), record)
    for run_id, records in runs.items():
        for path in folder.imported(KIND, run_id):
            for _, values in json_lines(path, Problems()):
                if values.get("event") == STEP_ENDED:
                    known = CompletedStep.from_dict(values)
                    records.setdefault(_identity(known), known)
        yield _run(run_id, list(records.values()), problems)


def _record(values: Mapping[str, Any]) -> CompletedStep:
    """The record of a line.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not is_line(values):
        raise TypeError("is no record of a step")
    known = {name: value for name, value in values.items() if value is not None or name not in _NEVER_NULL}
    msgspec.convert(known, _RECORD)
    found = CompletedStep.from_dict(known)
    record = _with_ids(replace(found, path=found.path or found.name))
    for line in (step_started_line(_started(record)), step_ended_line(record)):
        decode(line.encode(errors="backslashreplace"))
    _sum(record)
    for each in record.by_model:
        _sum(each)
    return record


def _shape_of(kind: type[Any], **instead: Any) -> type[msgspec.Struct]:
    """What the values of a dataclass are, for `msgspec` to check. The classes do not say in which module they are."""
    types = get_type_hints(kind, vars(record_module)) | instead
    return msgspec.defstruct(
        kind.__name__,
        [
            (each.name, types[each.name]) if each.default is MISSING and each.default_factory is MISSING
            else (each.name, types[each.name], msgspec.UNSET)
            for each in fields(kind)
        ],
    )  # fmt: skip


_RECORD: Final = _shape_of(CompletedStep, by_model=list[_shape_of(ModelSpend)])  # type: ignore[misc]  # made just here


def _with_ids(record: CompletedStep) -> CompletedStep:
    """The record with ids, which those of the first versions do not have."""
    if record.run_id and record.step_id:
        return record
    run_id = record.run_id or stable_id(KIND, "run", record.trace_id or "")
    whole = json.dumps(record.to_dict(), sort_keys=True)
    step_id = record.step_id or record.span_id or stable_id(KIND, whole)
    return replace(record, run_id=run_id, step_id=step_id)


def _identity(record: CompletedStep) -> str:
    """What a record is the only one of: a step has one of its own, and amendments that differ."""
    return json.dumps(record.to_dict(), sort_keys=True) if record.amends else record.step_id


def _run(run_id: str, records: list[CompletedStep], problems: Problems) -> ImportedRun:
    records.sort(key=lambda each: (each.path.count("/"), each.start_time, _identity(each)))
    outermost = records[0]
    run = ImportedRun(
        kind=KIND,
        source=run_id,
        run_id=run_id,
        name=outermost.name,
        program=outermost.name,
        started_at=min(each.start_time for each in records),
        ended_at=max(each.end_time for each in records),
    )
    sums: dict[tuple[str, str, str | None], Sum] = {}
    steps: dict[str, CompletedStep] = {}
    for record in records:
        step_id = record.amends or record.step_id
        if record.amends is None:
            run.start_step(_started(record))
            steps[step_id] = record
        else:
            steps.setdefault(step_id, record)
        for provider, model, spent in _spent(record):
            sums.setdefault((step_id, provider, model), Sum()).add(spent)
    for (step_id, provider, model), spent in sums.items():
        if not spent.is_possible:
            what = f"step {step_id}: no calls can have spent what its records and their amendments add up to"
            problems.add(Path(f"run {run_id}"), 0, what)
            continue
        like = _like(steps[step_id], run_id, provider, model)
        for row in rows_of(spent, like, "\0".join((KIND, run_id, step_id, provider, model or ""))):
            run.add_call(row)
    for record in records:
        run.end_step(record)
    return run


def _spent(record: CompletedStep) -> Iterator[tuple[str, str | None, Sum]]:
    """What a record says of each model. Older records do not tell models apart."""
    whole, split = _sum(record), Sum()
    for each in record.by_model:
        split.add(_sum(each))
    if record.by_model and (split.llm_calls, split.input_tokens) == (whole.llm_calls, whole.input_tokens):
        for each in record.by_model:
            yield each.provider, each.model, _sum(each)
    elif not whole.is_nothing:
        yield _UNKNOWN, record.model, whole


def _sum(values: CompletedStep | ModelSpend) -> Sum:
    counts = {name: getattr(values, name) for name in _COUNTS}
    return Sum(
        **counts,
        cost_picousd=_signed_picousd(values.cost_usd),
        estimated_cost_picousd=_signed_picousd(values.estimated_cost_usd),
    )


def _signed_picousd(usd: object) -> int:
    """Dollars of a record: an amendment may take some back.

    Raises:
        TypeError: it is no amount.
    """
    is_negative = isinstance(usd, (int, float)) and usd < 0
    picousd = to_picousd(-usd if is_negative and isinstance(usd, (int, float)) else usd)
    if picousd is None:
        raise TypeError(f"a record with an amount of {usd!r:.100} dollars")
    return -picousd if is_negative else picousd


def _started(record: CompletedStep) -> StartedStep:
    return StartedStep.from_dict(record.to_dict())


def _like(record: CompletedStep, run_id: str, provider: str, model: str | None) -> CallRow:
    return CallRow(
        call_id="",
        run_id=run_id,
        step_id=record.amends or record.step_id,
        parent_id=record.parent_id,
        step=record.name,
        path=record.path,
        agent=record.agent,
        labels=record.labels,
        sent_at=record.start_time,
        provider=provider,
        operation="",
        requested_model=model,
        model=model,
        price_book=record.price_book,
    )
