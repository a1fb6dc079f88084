"""Runs of steps, as the index has them."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.store._call_rows import id_of
from otel_harn_steps.store._living import Living
from otel_harn_steps.store._selection import SUMS, Selection
from otel_harn_steps.store._spend import Spend
from otel_harn_steps.store._views import Filter, StepRun, StepStatus


class StepRuns:
    """The runs of steps that a filter lets through."""

    def __init__(self, database: sqlite3.Connection, chosen: Filter) -> None:
        self._database = database
        self._selection = Selection(database, chosen)
        self._living = Living()

    def rows(self, living_since: int | None = None) -> Iterator[StepRun]:
        """Every run of a step, in the order in which they began; each has all that it spent, whatever the models.

        Args:
            living_since: only those that have not ended, or have since then, in nanoseconds since the epoch.
        """
        where = self._selection.where_steps(prefix="steps.")
        if living_since is None:
            yield from self._rows(where, *self._spend_of_steps())
        else:
            where += f" AND (steps.status IS NULL OR steps.ended_at >= {int(living_since)})"
            yield from self._rows(where, *self._spend_of_some(where))

    def breached(self, limit: int) -> list[StepRun]:
        """Those that have crossed a limit, the newest first."""
        newest = (
            f"SELECT id FROM steps WHERE breach IS NOT NULL AND {self._selection.where_steps()}"
            f" ORDER BY COALESCE(started_at, 0) DESC, id DESC LIMIT {int(limit)}"
        )
        where = f"steps.id IN ({', '.join(str(id_) for (id_,) in self._database.execute(newest))})"
        return list(self._rows(where, *self._spend_of_some(where)))[::-1]

    def _rows(self, where: str, own: Mapping[int, Spend], total: Mapping[int, Spend]) -> Iterator[StepRun]:
        rows = self._database.execute(
            f"""SELECT steps.id, steps.key, texts.id, runs.run_id, above.key, above_texts.id, steps.place, steps.labels,
                steps.started_at, steps.ended_at, steps.status, steps.breach, steps.error, steps.limits,
                steps.error_boundary, steps.detail, steps.trace_id, steps.budget_events, files.process_id,
                files.started_at, runs.ended_at IS NOT NULL
            FROM steps JOIN runs ON runs.id = steps.run LEFT JOIN files ON files.id = steps.file
                LEFT JOIN texts ON texts.key = steps.key LEFT JOIN steps AS above ON above.id = steps.parent
                LEFT JOIN texts AS above_texts ON above_texts.key = above.key
            WHERE {where} ORDER BY COALESCE(steps.started_at, 0), steps.id"""
        ).fetchall()
        for row in rows:
            (
                id_, key, text, run_id, parent_key, parent_text, place, labels, started_at, ended_at, status, breach,
                error, limits, boundary, detail, trace_id, events, process_id, process_began, run_has_ended,
            ) = row  # fmt: skip
            where_ = self._selection.places[place]
            yield StepRun(
                step_id=id_of(key, text),
                run_id=run_id,
                parent_id=None if parent_key is None else id_of(parent_key, parent_text),
                name=where_.name,
                path=where_.path,
                agent=where_.agent,
                labels=self._selection.label_sets[labels],
                started_at=started_at,
                ended_at=ended_at,
                status=status or self._open_status(process_id, process_began, run_has_ended=bool(run_has_ended)),
                breach=breach,
                error=error,
                limits={} if limits is None else json.loads(limits),
                own=own.get(id_, Spend()),
                total=total.get(id_, Spend()),
                detail=detail,
                trace_id=None if trace_id is None else trace_id.hex(),
                error_boundary=boundary,
                budget_events=() if events is None else tuple(json.loads(events)),
            )

    def _spend_of_steps(self) -> tuple[dict[int, Spend], dict[int, Spend]]:
        """What each step has spent itself, and with those below it; of the runs that the filter lets through."""
        runs = self._selection.where_steps()
        of_runs = f"run IN (SELECT run FROM steps WHERE {runs})"
        billed = self._kinds(BILLED)
        own = {
            step: Spend(*sums)
            for step, *sums in self._database.execute(
                f"SELECT step, {SUMS} FROM spend WHERE step > 0 AND {of_runs} AND kind IN ({billed}) GROUP BY step"
            )
        }
        for step, count in self._database.execute(
            f"SELECT step, COUNT(*) FROM open_calls WHERE step IS NOT NULL AND {of_runs} GROUP BY step"
        ):
            own.setdefault(step, Spend()).open_calls += count
        parents: dict[int, int] = dict(
            self._database.execute(f"SELECT id, parent FROM steps WHERE parent IS NOT NULL AND {of_runs}")
        )
        total: dict[int, Spend] = {}
        for step, spend in own.items():
            above: int | None = step
            seen = set[int]()
            while above is not None and above not in seen:  # a damaged journal may lead in a circle
                seen.add(above)
                total.setdefault(above, Spend()).add(spend)
                above = parents.get(above)
        return own, total

    def _spend_of_some(self, where: str) -> tuple[dict[int, Spend], dict[int, Spend]]:
        """As `_spend_of_steps`, of a few steps of a run that may have had a million."""
        below = (
            f"WITH RECURSIVE below (root, id) AS (SELECT steps.id, steps.id FROM steps WHERE {where}"
            " UNION SELECT below.root, steps.id FROM below JOIN steps ON steps.parent = below.id)"
        )
        of_runs = f"run IN (SELECT run FROM steps WHERE {where})"
        own: dict[int, Spend] = {}
        total: dict[int, Spend] = {}
        for root, is_own, *sums in self._database.execute(
            f"{below} SELECT below.root, below.id = below.root, {SUMS} FROM below"
            " JOIN (SELECT id AS of_step, run AS of_run FROM steps) ON of_step = below.id"
            " JOIN spend ON spend.run = of_run AND spend.step = of_step"
            f" WHERE kind IN ({self._kinds(BILLED)}) GROUP BY 1, 2"
        ):
            total.setdefault(root, Spend()).add(Spend(*sums))
            if is_own:
                own[root] = Spend(*sums)
        for root, is_own, count in self._database.execute(
            f"{below} SELECT below.root, below.id = below.root, COUNT(*) FROM open_calls"
            f" CROSS JOIN below ON below.id = open_calls.step WHERE {of_runs} GROUP BY 1, 2"
        ):
            total.setdefault(root, Spend()).open_calls += count
            if is_own:
                own.setdefault(root, Spend()).open_calls += count
        return own, total

    def _kinds(self, outcomes: frozenset[str]) -> str:
        return ", ".join(str(each.id) for each in self._selection.kinds.values() if each.outcome in outcomes)

    def _open_status(self, process_id: int | None, began: int | None, *, run_has_ended: bool) -> StepStatus:
        return "left" if run_has_ended or not self._living.has(process_id, began) else "running"


def outer_first(steps: Iterable[StepRun]) -> Iterator[StepRun]:
    """Each step after the one around it, and before its next sibling."""
    below: dict[str | None, list[StepRun]] = defaultdict(list)
    every = list(steps)
    known = {each.step_id for each in every}
    for each in every:
        below[each.parent_id if each.parent_id in known else None].append(each)
    waiting = list(reversed(below[None]))
    given = set[str]()
    while waiting:
        step = waiting.pop()
        if step.step_id not in given:
            given.add(step.step_id)
            yield step
            waiting += reversed(below[step.step_id])
    yield from (each for each in every if each.step_id not in given)  # in a circle, as only a damaged journal has one
