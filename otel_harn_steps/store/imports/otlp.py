"""Spans that the Collector has written to a file: steps, and the calls in them.

Each trace is a run. A step's span has what its own calls have spent; each call that has a span becomes a row of it,
and the others become rows with equal shares of what is left (`_shares.py`). Where the spans of calls say more than
their step, which has counted each call once, its numbers stand.

Spans of other instrumentations are read as they are in a running program: those of one call to a model, in the three
dialects that there are. Where one is within another, the inner one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast, get_args

from otel_harn_steps._calls.span_dialects import parse_span_attributes
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.usage import LIST_PRICE, token_count
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.call_row import NO_STEP, CallRow, StartedStep
from otel_harn_steps._telemetry.record import CompletedStep, Status
from otel_harn_steps.store.imports._lines import Problems, json_lines, stable_id
from otel_harn_steps.store.imports._runs import ImportedRun, observed, price_at, usage_fields
from otel_harn_steps.store.imports._shares import Sum, rows_of
from otel_harn_steps.store.imports._spans import Span, is_request, spans_in

KIND: Final = "otlp"
_UNKNOWN: Final = "unknown"
_OWN: Final = {
    each.removeprefix("harn.step."): each
    for each in (
        names.LLM_CALLS, names.INPUT_TOKENS, names.OUTPUT_TOKENS, names.CACHE_READ_TOKENS, names.CACHE_WRITE_TOKENS,
        names.REASONING_TOKENS, names.UNPRICED_CALLS, names.UNMETERED_CALLS, names.OBSERVED_CALLS,
        names.ESTIMATED_TOKENS,
    )
}  # fmt: skip
is_line = is_request


def runs_in(files: Iterable[Path], problems: Problems) -> Iterator[ImportedRun]:
    """The traces in the files that have steps or calls.

    Raises:
        OSError: a file cannot be read.
    """
    traces: dict[str, dict[str, Span]] = {}
    for path in files:
        for number, values in json_lines(path, problems):
            try:
                for span in spans_in(values) if is_request(values) else _none(values):
                    traces.setdefault(span.trace_id, {}).setdefault(span.span_id, span)
            except (TypeError, ValueError) as error:
                problems.add(path, number, str(error))
    for trace_id, spans in traces.items():
        trace = _Trace(trace_id, spans)
        if trace.rows or trace.steps:
            yield trace.run()


def _none(values: Mapping[str, Any]) -> Iterator[Span]:
    kinds = ", ".join(each for each in ("resourceMetrics", "resourceLogs") if each in values)
    raise ValueError(f"has {kinds} and no spans" if kinds else "is no request with spans")


class _Trace:
    """The steps and calls of a trace.

    Attributes:
        steps: the spans of steps, by their ids.
        rows: the calls.
    """

    def __init__(self, trace_id: str, spans: Mapping[str, Span]) -> None:
        self._trace_id = trace_id
        self._run_id = stable_id(KIND, trace_id)
        self._spans = spans
        self.steps = {each.span_id: each for each in spans.values() if _text(each, names.STEP_NAME) and _is_step(each)}
        found = [row for span in self._calls() if (row := self._row(span)) is not None]
        self.rows = [row for row in found if row.step_id is None or row.late]
        for step in self.steps.values():
            own = [row for row in found if row.step_id == step.span_id and not row.late]
            self.rows += self._rows_of(step, own)
        self.rows.sort(key=lambda row: (row.sent_at, row.call_id))

    def _calls(self) -> list[Span]:
        """The spans of calls: of one within another the inner one, of two with the same answer the first one."""
        calls = {each.span_id: each for each in self._spans.values() if not _is_step(each) and _is_call(each)}
        around = {above.span_id for each in calls.values() for above in self._above(each) if above.span_id in calls}
        answers: dict[str, Span] = {}
        for each in sorted(calls.values(), key=lambda span: (not _is_ours(span), span.started_at, span.span_id)):
            if each.span_id not in around:
                answers.setdefault(_text(each, names.RESPONSE_ID) or f"span {each.span_id}", each)
        return list(answers.values())

    def _above(self, span: Span) -> Iterator[Span]:
        """The spans around one, the nearest first, as far as the step that it is in."""
        seen = {span.span_id}
        above = self._spans.get(span.parent_id or "")
        while above is not None and above.span_id not in seen:
            yield above
            if above.span_id in self.steps:
                return
            seen.add(above.span_id)
            above = self._spans.get(above.parent_id or "")

    def _step_around(self, span: Span) -> Span | None:
        return next((above for above in self._above(span) if above.span_id in self.steps), None)

    def _row(self, span: Span) -> CallRow | None:
        """The call of a span. None: it was billed to nobody, because it failed."""
        reported = parse_span_attributes(span.attributes)
        if reported is None and span.is_error:
            return None
        step = self._step_around(span)
        provider = (None if reported is None else reported.provider) or _text(span, names.PROVIDER)
        requested = _text(span, names.REQUEST_MODEL) if reported is None else reported.models[0]
        model = _text(span, names.RESPONSE_MODEL) if reported is None else reported.models[1]
        usage = None if reported is None else reported.usage
        cost, book = price_at(provider, model or requested, usage, LIST_PRICE, span.started_at)
        if _is_ours(span):
            cost = to_picousd(span.attributes.get(names.CALL_COST_USD))
            book = None  # the span does not name it
        is_known = usage is not None and usage.is_complete
        certainty = observed(usage) if usage is not None and not _is_ours(span) else "measured"
        return CallRow(
            call_id=_call_id(span),
            **self._place(step),
            sent_at=span.started_at,
            provider=provider or _UNKNOWN,
            operation=_text(span, names.OPERATION) or "chat",
            requested_model=requested,
            outcome="answered",
            duration_ns=max(0, span.ended_at - span.started_at),
            model=model or requested,
            cost_picousd=cost,
            certainty=certainty if is_known else "unknown",
            price_book=book,
            late=step is not None and span.ended_at > step.ended_at,
            **({} if usage is None else usage_fields(usage)),
        )

    def _place(self, step: Span | None) -> dict[str, Any]:
        """The fields of a row that say where its call was made."""
        if step is None:
            values = {"step_id": None, "parent_id": None, "step": NO_STEP, "path": "", "agent": None}
        else:
            around = self._step_around(step)
            values = {
                "step_id": step.span_id,
                "parent_id": None if around is None else around.span_id,
                "step": _text(step, names.STEP_NAME),
                "path": self._path(step),
                "agent": _text(step, names.AGENT_NAME),
            }
        return values | {"run_id": self._run_id, "labels": {}}

    def _path(self, step: Span) -> str:
        return _text(step, names.STEP_PATH) or _text(step, names.STEP_NAME) or ""

    def _rows_of(self, step: Span, calls: list[CallRow]) -> list[CallRow]:
        """The calls of a step, as many as it has counted, with what it has counted."""
        whole = _spent(step)
        if whole is None:  # its span was cut short: it has not been ended
            return calls
        metered = [row for row in calls if row.input_tokens is not None or row.output_tokens is not None]
        ours = [row for row in metered if row.certainty != "observed"]
        for kept in (calls, metered, ours, []):
            left = _spent(step) or Sum()
            for row in kept:
                left.add(_sum(row), sign=-1)
            if left.is_possible:
                break
        return [*kept, *rows_of(left, self._like(step, calls), f"{KIND}\0{self._trace_id}\0{step.span_id}")]

    def _like(self, step: Span, calls: Sequence[CallRow]) -> CallRow:
        model = _text(step, names.MODEL)
        providers = {row.provider for row in calls if row.model == model}
        return CallRow(
            call_id="",
            **self._place(step),
            sent_at=step.started_at,
            provider=providers.pop() if len(providers) == 1 else _UNKNOWN,
            operation="",
            requested_model=model,
            model=model,
        )

    def run(self) -> ImportedRun:
        """The trace as a run."""
        shown = [*self.steps.values()] or [*self._spans.values()]
        first = min(shown, key=lambda each: (each.started_at, each.span_id))
        run = ImportedRun(
            kind=KIND,
            source=self._trace_id,
            run_id=self._run_id,
            name=_text(first, names.STEP_NAME) or first.name,
            program=str(first.resource.get("service.name") or _UNKNOWN),
            started_at=min(each.started_at for each in shown),
            ended_at=max(each.ended_at for each in shown),
            seen=frozenset(self.steps) | {_call_id(each) for each in self._spans.values()},
        )
        steps = sorted(self.steps.values(), key=lambda each: (each.started_at, self._path(each), each.span_id))
        for step in steps:
            run.start_step(self._started(step))
        for row in self.rows:
            run.add_call(row)
        for step in steps:
            run.end_step(self._record(step))
        return run

    def _started(self, step: Span) -> StartedStep:
        place = self._place(step)
        return StartedStep(
            step_id=step.span_id,
            run_id=self._run_id,
            parent_id=place["parent_id"],
            name=place["step"],
            function=_text(step, names.STEP_FUNCTION) or place["step"] or "",
            path=place["path"],
            start_time=step.started_at,
            model=_text(step, names.STEP_DEFAULT_MODEL),
            agent=place["agent"],
            max_tokens=token_count(step.attributes.get(names.STEP_MAX_TOKENS)),
            max_usd=_dollars(step, names.STEP_MAX_USD),
            error_boundary=_text(step, names.STEP_ERROR_BOUNDARY),
            trace_id=self._trace_id,
            detail=_text(step, names.STEP_DETAIL),
        )

    def _record(self, step: Span) -> CompletedStep:
        counts = {name: _count(step, attribute) for name, attribute in _OWN.items()}
        # What would be no other than its own is not on the span.
        totals = {
            f"total_{name}": _count(step, f"harn.step.total.{name}") or counts[name]
            for name in ("input_tokens", "output_tokens", "llm_calls")
        }
        cost_usd = _dollars(step, names.COST_USD) or 0.0
        status = _text(step, names.STATUS)
        events = step.attributes.get(names.BUDGET_EVENTS)
        around = self._step_around(step)
        return CompletedStep.from_dict(
            self._started(step).to_dict()
            | counts
            | totals
            | {
                "model": _text(step, names.MODEL),
                "cost_usd": cost_usd,
                "total_cost_usd": _dollars(step, names.TOTAL_COST_USD) or cost_usd,
                "estimated_cost_usd": _dollars(step, names.ESTIMATED_COST_USD) or 0.0,
                "status": cast("Status", status) if status in get_args(Status) else "cancelled",
                "error": _text(step, names.ERROR_TYPE),
                "end_time": step.ended_at,
                "span_id": step.span_id,
                "parent_step": None if around is None else _text(around, names.STEP_NAME),
                "breach": _text(step, names.BUDGET_LIMIT),
                "open_calls": _count(step, names.OPEN_CALLS),
                "budget_events": [str(each) for each in events] if isinstance(events, list) else [],
            }
        )


def _call_id(span: Span) -> str:
    return stable_id(KIND, span.trace_id, span.span_id)


def _is_ours(span: Span) -> bool:
    return span.scope == names.SCOPE


def _is_step(span: Span) -> bool:
    """Whether a span is a step's. The span of a call names its step, too."""
    return names.STEP_PATH in span.attributes or names.LLM_CALLS in span.attributes


def _is_call(span: Span) -> bool:
    return _is_ours(span) or parse_span_attributes(span.attributes) is not None


def _spent(step: Span) -> Sum | None:
    """What a step's span has counted of its own calls. None: it does not say."""
    if names.LLM_CALLS not in step.attributes:
        return None
    return Sum(
        **{name: _count(step, attribute) for name, attribute in _OWN.items()},
        cost_picousd=to_picousd(step.attributes.get(names.COST_USD)) or 0,
        estimated_cost_picousd=to_picousd(step.attributes.get(names.ESTIMATED_COST_USD)) or 0,
    )


def _sum(row: CallRow) -> Sum:
    has_usage = row.input_tokens is not None or row.output_tokens is not None
    return Sum(
        1,
        row.input_tokens or 0,
        row.output_tokens or 0,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.reasoning_tokens,
        row.cost_picousd or 0,
        unpriced_calls=int(has_usage and row.cost_picousd is None),
        unmetered_calls=int(row.input_tokens is None or row.output_tokens is None),
        observed_calls=int(row.certainty == "observed"),
    )


def _text(span: Span, name: str) -> str | None:
    found = span.attributes.get(name)
    return found if isinstance(found, str) and found else None


def _count(span: Span, name: str) -> int:
    return token_count(span.attributes.get(name)) or 0


def _dollars(span: Span, name: str) -> float | None:
    found = span.attributes.get(name)
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None
