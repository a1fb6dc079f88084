"""What a run has cost: by step, by model, by process, added up from its journals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps._telemetry.journal_lines import CALL_SENT, CALL_SETTLED, HEADER, STEP_ENDED, STEP_STARTED
from otel_harn_steps.store._reading import JournalEvent
from otel_harn_steps.store._spend import ProcessState, Spend, StepSpend

_MOST_NOTES: Final = 10_000


class RunSummary:
    """Adds up journals. Each call is counted once, by its `call_settled` line, and exactly, in pico-dollars.

    Attributes:
        steps: by path; "" has the calls that no step claims.
        models: by provider and model.
        certainties: where the numbers of the billed calls are from.
        notes: the facts that were noted, and how often: by event, then by the facts as JSON.
    """

    def __init__(self, events: Iterable[JournalEvent] = ()) -> None:
        self.steps: dict[str, StepSpend] = {}
        self.models: dict[tuple[str, str | None], Spend] = {}
        self.certainties = Counter[str]()
        self.notes: dict[str, Counter[str]] = {}
        self._outcomes = Counter[str]()
        self._processes: list[ProcessState] = []
        self._process_of: dict[str, ProcessState] = {}
        self._settled: set[str] = set()
        self._open_calls: dict[str, ProcessState] = {}
        self._ended: set[str] = set()
        self._open_steps: dict[str, ProcessState] = {}
        for event in events:
            self.add(event)

    def add(self, event: JournalEvent) -> None:
        """Add one line. Lines may come in any order."""
        if event.event == CALL_SETTLED and event.row is not None:
            self._settle(event.row)
        elif event.event == CALL_SENT and event.row is not None:
            self._send(event.row, self._process(event))
        elif event.event == STEP_STARTED:
            self._start(event.values, self._process(event))
        elif event.event == STEP_ENDED:
            self._end(event.values)
        elif event.event == HEADER:
            self._process(event)
        else:
            self._note(event)

    @property
    def total(self) -> Spend:
        """What all calls have spent."""
        total = Spend()
        for each in self.steps.values():
            total.add(each.own)
        return total

    @property
    def outcomes(self) -> Counter[str]:
        """How calls have ended; "open" are those that have not."""
        counted = self._outcomes.copy()
        if self._open_calls:
            counted["open"] = len(self._open_calls)
        return counted

    @property
    def processes(self) -> list[ProcessState]:
        """The processes that have written journals."""
        return list(self._processes)

    def tree(self) -> Iterator[tuple[int, StepSpend, Spend]]:
        """Every step with its depth and what it has spent with all steps below it, the most expensive first."""
        totals: dict[str, Spend] = {}
        children: dict[str | None, list[StepSpend]] = {}
        for step in sorted(self.steps.values(), key=lambda each: -len(each.path)):  # inner steps before outer ones
            total = totals.setdefault(step.path, Spend())
            total.add(step.own)
            # "" has the calls that no step claims, and is nobody's parent.
            parent = step.parent_path if step.parent_path and step.parent_path in self.steps else None
            children.setdefault(parent, []).append(step)
            if parent is not None:
                totals.setdefault(parent, Spend()).add(total)
        waiting = [(0, each) for each in _expensive_last(children.get(None, ()), totals)]
        while waiting:
            depth, step = waiting.pop()
            if step.path or step.own.calls or step.own.open_calls:
                yield depth, step, totals[step.path]
            below = children.get(step.path, ()) if step.path else ()
            waiting += [(depth + 1, each) for each in _expensive_last(below, totals)]

    def to_dict(self) -> dict[str, Any]:
        """The summary in plain JSON values."""
        return {
            "total": self.total.to_dict(),
            "steps": [step.to_dict(total) for _, step, total in self.tree()],
            "models": [
                {"provider": provider, "model": model, **spend.to_dict()}
                for (provider, model), spend in self.models_by_cost()
            ],
            "outcomes": dict(self.outcomes),
            "certainties": dict(self.certainties),
            "processes": [each.to_dict() for each in self.processes],
            "notes": [
                {"event": event, "count": count, **json.loads(facts)}
                for event, counted in self.notes.items()
                for facts, count in counted.items()
            ],
        }

    def models_by_cost(self) -> list[tuple[tuple[str, str | None], Spend]]:
        """Providers and models, the most expensive first."""
        used = ((model, spend) for model, spend in self.models.items() if spend.calls or spend.open_calls)
        return sorted(used, key=lambda each: (*_by_cost(each[1]), *map(str, each[0])))

    def _settle(self, row: CallRow) -> None:
        if row.call_id in self._settled:  # in two journals, if a process has two
            return
        self._settled.add(row.call_id)
        self._close(row.call_id)
        self._outcomes[row.outcome] += 1
        if row.outcome not in BILLED:
            return
        self.certainties[row.certainty] += 1
        for each in self._spends_of(row):
            each.bill(row)

    def _send(self, row: CallRow, process: ProcessState) -> None:
        if row.call_id not in self._settled and row.call_id not in self._open_calls:
            process.open_calls[row.call_id] = row
            self._open_calls[row.call_id] = process
            for each in self._spends_of(row):
                each.open_calls += 1

    def _close(self, call_id: str) -> None:
        process = self._open_calls.pop(call_id, None)
        if process is not None:
            for each in self._spends_of(process.open_calls.pop(call_id)):
                each.open_calls -= 1

    def _spends_of(self, row: CallRow) -> tuple[Spend, Spend]:
        step = self._step(NO_STEP if row.step_id is None else row.step, row.path)
        return step.own, self.models.setdefault((row.provider, row.model or row.requested_model), Spend())

    def _start(self, values: Mapping[str, Any], process: ProcessState) -> None:
        step_id, step = values["step_id"], self._step(values["name"], values["path"])
        if step_id not in self._ended and step_id not in self._open_steps:
            process.open_steps[step_id] = values
            self._open_steps[step_id] = process
            step.open_runs += 1

    def _end(self, values: Mapping[str, Any]) -> None:
        step = self._step(values["name"], values["path"])
        step_id: str = values.get("step_id") or ""
        if values.get("amends"):
            step.amendments += 1
        elif not step_id or step_id not in self._ended:
            step.statuses[values["status"]] += 1
            self._ended.add(step_id)
            process = self._open_steps.pop(step_id, None)
            if process is not None:
                del process.open_steps[step_id]
                step.open_runs -= 1
        if values.get("breach"):
            step.breaches += 1
            step.last_breach = values

    def _note(self, event: JournalEvent) -> None:
        counted = self.notes.setdefault(event.event, Counter())
        facts = json.dumps({name: value for name, value in event.values.items() if name != "at"}, sort_keys=True)
        if facts in counted or len(counted) < _MOST_NOTES:
            counted[facts] += 1

    def _step(self, name: str, path: str) -> StepSpend:
        return self.steps.setdefault(path, StepSpend(name, path))

    def _process(self, event: JournalEvent) -> ProcessState:
        process = self._process_of.get(event.file)
        if process is None:
            header = event.header
            process = None if header is None or header.previous is None else self._process_of.get(header.previous)
            if process is None:
                process = ProcessState.of(header)
                self._processes.append(process)
            self._process_of[event.file] = process
        return process


def _by_cost(spend: Spend) -> tuple[int, int]:
    return -spend.cost_picousd - spend.estimated_cost_picousd, -spend.calls - spend.open_calls


def _expensive_last(steps: Iterable[StepSpend], totals: Mapping[str, Spend]) -> list[StepSpend]:
    # The calls that no step claims come after the steps, and the stack gives the last one out first.
    return sorted(steps, key=lambda each: (not each.path, *_by_cost(totals[each.path]), each.path), reverse=True)
