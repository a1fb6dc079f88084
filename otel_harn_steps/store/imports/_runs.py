"""Runs that are imported, as lines of a journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._cost.price_book import card_of
from otel_harn_steps._cost.usage import PARTS, Terms, Usage
from otel_harn_steps._telemetry.call_row import CallRow, Certainty, StartedStep
from otel_harn_steps._telemetry.journal_lines import call_settled_line, step_ended_line, step_started_line
from otel_harn_steps._telemetry.record import CompletedStep, ModelSpend
from otel_harn_steps.store._spend import Spend

_NS_PER_S: Final = 10**9
_OF_ROWS: Final = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_DETAILS: Final = tuple(name for name in PARTS if name not in _OF_ROWS)


@dataclass(slots=True, kw_only=True)
class ImportedRun:
    """A run, or the part of one that one source holds.

    Attributes:
        kind: what it was imported from.
        source: what it is the only one of: a session, a thread, a trace. Imported again, it takes the place of what
            was there.
        name, program: what the run is called, and what ran.
        started_at, ended_at: nanoseconds since the epoch.
        lines: of its journal, without the header.
        calls, steps, cost_picousd: how many there are, and what the calls have cost whose price is known.
        unpriced: models whose price is not known.
        replaces: other sources that this one has become the part of.
        seen: the ids of all steps and calls that the source has shown, also of those that make no row. What was
            imported before is replaced if it has no others. None: it is replaced in any case.
    """

    kind: str
    source: str
    run_id: str
    name: str
    program: str
    started_at: int
    ended_at: int
    lines: list[str] = field(default_factory=list)
    calls: int = 0
    steps: int = 0
    cost_picousd: int = 0
    unpriced: set[str] = field(default_factory=set)
    seen: frozenset[str] | None = None
    replaces: tuple[str, ...] = ()

    def add_call(self, row: CallRow) -> None:
        """Add a call."""
        self.lines.append(call_settled_line(row))
        self.calls += 1
        self.cost_picousd += row.cost_picousd or 0
        if row.cost_picousd is None and row.input_tokens is not None and row.model:
            self.unpriced.add(row.model)

    def start_step(self, started: StartedStep) -> None:
        """Add the beginning of a step."""
        self.lines.append(step_started_line(started))
        self.steps += 1

    def end_step(self, record: CompletedStep) -> None:
        """Add the end of a step, or an amendment."""
        self.lines.append(step_ended_line(record))


@dataclass(slots=True, kw_only=True)
class ToolStep:
    """A session of a coding agent, or a sub-agent in it: a step with its calls.

    Attributes:
        parent: the one that it is nested in, where that is known.
        started_at, ended_at: of what its log shows, in nanoseconds since the epoch.
    """

    step_id: str
    run_id: str
    name: str
    agent: str
    labels: Mapping[str, str]
    started_at: int
    ended_at: int
    parent: ToolStep | None = None
    rows: list[CallRow] = field(default_factory=list)

    @property
    def parent_id(self) -> str | None:
        """The id of the step that it is nested in."""
        return None if self.parent is None else self.parent.step_id

    @property
    def path(self) -> str:
        """The names from the outermost step to this one."""
        return self.name if self.parent is None else f"{self.parent.path}/{self.name}"

    def call(
        self,
        call_id: str,
        *,
        sent_at: int,
        provider: str,
        model: str | None,
        usage: Usage,
        terms: Terms,
        labels: Mapping[str, str],
    ) -> None:
        """Add a call, with what it costs by the price book at that time."""
        cost, book = price_at(provider, model, usage, terms, sent_at)
        self.rows.append(
            CallRow(
                call_id=call_id,
                run_id=self.run_id,
                step_id=self.step_id,
                parent_id=self.parent_id,
                step=self.name,
                path=self.path,
                agent=self.agent,
                labels=labels,
                sent_at=sent_at,
                provider=provider,
                operation="chat",
                requested_model=model,
                outcome="answered",
                model=model,
                terms=dict(terms),
                cost_picousd=cost,
                certainty="observed",
                price_book=book,
                **usage_fields(usage),
            )
        )


def price_at(
    provider: str | None, model: str | None, usage: Usage | None, terms: Terms, at: int
) -> tuple[int | None, str | None]:
    """What `usage` cost at a time, in pico-dollars, and where that price is from. None and None: it is not known.

    `at` is in nanoseconds since the epoch; the other arguments are those of `price_of`.
    """
    card = None if not model or usage is None else card_of(provider, model, terms, at / _NS_PER_S)
    cost = None if card is None or usage is None else card.cost_picousd(usage)
    return (None, None) if card is None or cost is None else (cost, card.book)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """The fields of a row that hold what was used."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        **{name: getattr(usage, name) for name in _OF_ROWS},
        "details": {name: count for name in _DETAILS if (count := getattr(usage, name))},
    }


def add_tool_steps(run: ImportedRun, steps: Iterable[ToolStep]) -> None:
    """Add steps with their calls to a run, outer ones before inner ones."""
    known = sorted(steps, key=lambda each: (each.path.count("/"), each.started_at, each.step_id))
    totals = {each.step_id: _spend_of(each.rows) for each in known}
    for each in reversed(known):  # inner ones before outer ones
        if each.parent is not None:
            totals[each.parent.step_id].add(totals[each.step_id])
    for each in known:
        run.start_step(_started(each))
        for row in each.rows:
            run.add_call(row)
        run.end_step(_record(each, totals[each.step_id]))


def _started(step: ToolStep) -> StartedStep:
    return StartedStep(
        step_id=step.step_id,
        run_id=step.run_id,
        parent_id=step.parent_id,
        name=step.name,
        function="",
        path=step.path,
        start_time=step.started_at,
        agent=step.agent,
        labels=step.labels,
    )


def _record(step: ToolStep, total: Spend) -> CompletedStep:
    own = _spend_of(step.rows)
    last = step.rows[-1] if step.rows else None
    return CompletedStep(
        name=step.name,
        function="",
        model=None if last is None else last.model,
        input_tokens=own.input_tokens,
        output_tokens=own.output_tokens,
        cost_usd=to_usd(own.cost_picousd),
        llm_calls=own.calls,
        status="completed",
        error=None,
        cache_read_tokens=own.cache_read_tokens,
        cache_write_tokens=own.cache_write_tokens,
        reasoning_tokens=own.reasoning_tokens,
        total_input_tokens=total.input_tokens,
        total_output_tokens=total.output_tokens,
        total_cost_usd=to_usd(total.cost_picousd),
        total_llm_calls=total.calls,
        unpriced_calls=own.unpriced_calls,
        unmetered_calls=own.unmetered_calls,
        observed_calls=own.calls,
        start_time=step.started_at,
        end_time=step.ended_at,
        parent_step=None if step.parent is None else step.parent.name,
        path=step.path,
        run_id=step.run_id,
        step_id=step.step_id,
        parent_id=step.parent_id,
        agent=step.agent,
        labels=step.labels,
        by_model=tuple(_by_model(step.rows)),
        price_book=next((row.price_book for row in reversed(step.rows) if row.price_book), None),
    )


def _by_model(rows: Iterable[CallRow]) -> Iterator[ModelSpend]:
    spends: dict[tuple[str, str | None], Spend] = {}
    for row in rows:
        spends.setdefault((row.provider, row.model), Spend()).bill(row)
    for (provider, model), spend in spends.items():
        yield ModelSpend(
            provider,
            model,
            spend.calls,
            spend.input_tokens,
            spend.output_tokens,
            spend.cache_read_tokens,
            spend.cache_write_tokens,
            spend.reasoning_tokens,
            to_usd(spend.cost_picousd),
            spend.unpriced_calls,
            spend.unmetered_calls,
            observed_calls=spend.calls,
        )


def _spend_of(rows: Iterable[CallRow]) -> Spend:
    spend = Spend()
    for row in rows:
        spend.bill(row)
    return spend


def observed(usage: Usage) -> Certainty:
    """Where the numbers of a call are from that somebody else has written down."""
    return "observed" if usage.is_complete else "unknown"
