"""The calls of the ledger in the steps that made them: what budgets are replayed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from otel_harn_steps._telemetry.call_row import BILLED, CallRow
from otel_harn_steps.store._views import StepRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """A run of a step: what a budget of it needs to know. `started_at` None: not known."""

    step_id: str
    run_id: str
    parent_id: str | None
    name: str
    path: str
    started_at: int | None


class History:
    """Billed calls and runs of steps.

    Args:
        calls: rows of the ledger; those that are not billed are left out, because a budget counts none of them.
        step_runs: the runs of steps. One that is missing is made of the rows of its calls.
    """

    def __init__(self, calls: Iterable[CallRow], step_runs: Iterable[StepRun] = ()) -> None:
        self.steps: dict[str, StepPlace] = {}
        for each in step_runs:
            self.steps[each.step_id] = StepPlace(
                step_id=each.step_id,
                run_id=each.run_id,
                parent_id=each.parent_id,
                name=each.name,
                path=each.path,
                started_at=each.started_at,
            )
        runs: dict[str, list[CallRow]] = defaultdict(list)
        for row in calls:
            if row.outcome not in BILLED:
                continue
            runs[row.run_id].append(row)
            if row.step_id is not None and row.step_id not in self.steps:
                self.steps[row.step_id] = StepPlace(
                    step_id=row.step_id,
                    run_id=row.run_id,
                    parent_id=row.parent_id,
                    name=row.step,
                    path=row.path,
                    started_at=None,
                )
        self.runs: Mapping[str, Sequence[CallRow]] = {
            run_id: sorted(rows, key=lambda row: (row.sent_at, row.call_id)) for run_id, rows in runs.items()
        }
        self._around: dict[str | None, tuple[StepPlace, ...]] = {None: ()}

    def around(self, step_id: str | None) -> tuple[StepPlace, ...]:
        """A run of a step and those around it, the outermost first."""
        found = self._around.get(step_id)
        if found is None:
            chain: list[StepPlace] = []
            seen: set[str] = set()
            while step_id is not None and step_id in self.steps and step_id not in seen:
                seen.add(step_id)
                chain.append(self.steps[step_id])
                step_id = chain[-1].parent_id
            found = tuple(reversed(chain))
            if chain:
                self._around[chain[0].step_id] = found
        return found

    def calls(self) -> Iterator[CallRow]:
        """Every call, run by run, in the order in which they were sent."""
        for rows in self.runs.values():
            yield from rows


def budget_picousd(row: CallRow) -> int:
    """What a budget counts of a call in pico-dollars: what is known, and what was estimated."""
    return (row.cost_picousd or 0) + row.estimated_cost_picousd


def ended_at(row: CallRow) -> int:
    """When a call had ended, in nanoseconds since the epoch: only then its cost is known."""
    return row.sent_at + (row.duration_ns or 0)
