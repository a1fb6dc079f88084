"""What was billed, in the one form that two sides are compared in: of the ledger's rows, or of the records of steps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage
from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps._telemetry.journal_lines import CALL_SETTLED, STEP_ENDED
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
from otel_harn_steps.store._reading import checked_row
from otel_harn_steps.store._repricing import model_of, sent_at_s, terms_of, usage_of

_NS_PER_S: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """Calls of one step to one model: one call of the ledger, or all that a record says of a model.

    Attributes:
        usage: of all these calls together. None: not known.
        cost_picousd: measured and estimated together. None: unknown.
        estimated_picousd: the estimated part of it.
        book: where the price is from.
        at: when the call was sent, or the step began, in seconds since the epoch.
    """

    run_id: str
    step: str
    path: str
    agent: str | None
    provider: str
    model: str | None
    terms: Terms
    calls: int
    usage: Usage | None
    cost_picousd: int | None
    estimated_picousd: int
    book: str | None
    at: float


def billed_calls(rows: Iterable[CallRow]) -> Iterator[Billed]:
    """The rows that are billed to somebody."""
    for row in rows:
        if row.outcome not in BILLED:
            continue
        estimated = row.estimated_cost_picousd
        yield Billed(
            run_id=row.run_id,
            step=NO_STEP if row.step_id is None else row.step,
            path=row.path or NO_STEP,
            agent=row.agent,
            provider=row.provider,
            model=model_of(row),
            terms=terms_of(row),
            calls=1,
            # Rates say nothing about a cost that is partly estimated.
            usage=None if estimated or row.cost_picousd is None else usage_of(row),
            cost_picousd=None if row.cost_picousd is None and not estimated else (row.cost_picousd or 0) + estimated,
            estimated_picousd=estimated,
            book=row.price_book,
            at=sent_at_s(row),
        )


def billed_by_record(record: CompletedStep) -> Iterator[Billed]:
    """What a record says that the step's own calls were billed, by model."""
    for spend in record.by_model:
        made = Billed(
            run_id=record.run_id,
            step=record.name,
            path=record.path or record.name,
            agent=record.agent,
            provider=spend.provider,
            model=spend.model,
            terms=LIST_PRICE,
            calls=spend.llm_calls,
            usage=None,
            cost_picousd=None,
            estimated_picousd=0,
            book=record.price_book,
            at=record.start_time / _NS_PER_S,
        )
        yield from _by_certainty(made, spend)


def _by_certainty(made: Billed, spend: ModelSpend) -> Iterator[Billed]:
    """A record does not say which of its calls have no price: the first of them are taken to be those that have."""
    cost, estimated = to_picousd(spend.cost_usd) or 0, to_picousd(spend.estimated_cost_usd) or 0
    without = min(max(spend.unpriced_calls, spend.unmetered_calls), spend.llm_calls)
    priced = spend.llm_calls - without
    usage = Usage(
        spend.input_tokens,
        spend.output_tokens,
        spend.cache_read_tokens,
        spend.cache_write_tokens,
        reasoning_tokens=spend.reasoning_tokens,
    )
    if priced or cost:
        yield replace(made, calls=priced, cost_picousd=cost, usage=None if without else usage)
    if without:
        yield replace(made, calls=without, cost_picousd=estimated or None, estimated_picousd=estimated)
    elif estimated:
        yield replace(made, calls=0, cost_picousd=estimated, estimated_picousd=estimated)


def read_billed(path: str | os.PathLike[str]) -> list[Billed]:
    """What a file of JSON lines says was billed: lines of a journal, rows of calls, or records of steps.

    A journal has both, calls and the records that repeat them: where there is a call, records are left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is none of these. The message names the file and the line.
    """
    path = Path(path)
    calls: dict[str, CallRow] = {}
    records: list[CompletedStep] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = _line(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                reason = "is no JSON" if isinstance(error, json.JSONDecodeError) else str(error)
                raise ValueError(f"{path}:{number}: {reason}") from None
            if isinstance(found, CallRow):
                calls.setdefault(found.call_id, found)
            elif found is not None:
                records.append(found)
    if calls:
        return list(billed_calls(calls.values()))
    return [each for record in records for each in billed_by_record(record)]


def _line(values: Any) -> CallRow | CompletedStep | None:
    """The call or the record of a line. None: it is a line of a journal that bills nothing."""
    if not isinstance(values, Mapping):
        raise TypeError("is no object")
    event = values.get("event")
    if event == CALL_SETTLED or (event is None and "call_id" in values):
        return checked_row(values)
    if event == STEP_ENDED or (event is None and "llm_calls" in values):
        return CompletedStep.from_dict(values)
    if event is None:
        raise ValueError("is neither a call nor the record of a step")
    return None
