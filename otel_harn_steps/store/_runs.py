"""Runs, as the index has them."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from otel_harn_steps.store._call_rows import OPEN, Calls
from otel_harn_steps.store._living import Living
from otel_harn_steps.store._reports import SPEND_OF_WASTED, below_wasted
from otel_harn_steps.store._selection import COST, SUMS, Selection, is_in
from otel_harn_steps.store._spend import Spend
from otel_harn_steps.store._step_runs import StepRuns, outer_first
from otel_harn_steps.store._views import Filter, ProcessRow, RunDetail, RunRow

_SHORTEST_PREFIX: Final = 4


class _FoundRun(NamedTuple):
    """A row of the table of runs."""

    id: int
    run_id: str
    name: str | None
    program: str | None
    process_id: int | None
    started_at: int | None
    last_at: int | None
    ended_at: int | None
    exit_code: int | None
    over: str | None
    limits: str
    source: str


class Runs:
    """The runs that a filter lets through."""

    def __init__(self, database: sqlite3.Connection, chosen: Filter) -> None:
        self._database = database
        self._selection = Selection(database, chosen)
        self._living = Living()

    def rows(self, order: Literal["newest", "cost"] = "newest", limit: int | None = None) -> list[RunRow]:
        """The runs that have calls or steps that the filter lets through, with what these have spent."""
        found = self._found_runs()
        costs: dict[int, int] = {}
        if order == "cost":
            costs = dict(
                self._database.execute(
                    f"SELECT run, SUM({COST}) FROM spend WHERE {self._selection.where()} GROUP BY run"
                )
            )
        found.sort(key=lambda run: (-costs.get(run.id, 0), -(run.started_at or 0), run.id))
        found = found[:limit]
        of_found = is_in("run", [run.id for run in found])
        spends = {
            run: Spend(*sums)
            for run, *sums in self._database.execute(
                f"SELECT run, {SUMS} FROM spend WHERE {of_found} AND {self._selection.where()} GROUP BY run"
            )
        }
        for run, count in self._database.execute(
            f"SELECT run, COUNT(*) FROM open_calls WHERE {of_found} AND {self._where_open()} GROUP BY run"
        ):
            spends.setdefault(run, Spend()).open_calls += count
        entered = {
            run: (count, breaches)
            for run, count, breaches in self._database.execute(
                "SELECT run, COUNT(*), COUNT(breach) FROM steps"
                f" WHERE {of_found} AND {self._selection.where_steps()} GROUP BY run"
            )
        }
        wasted = self._wasted([run.id for run in found])
        processes = self._processes([run.id for run in found])
        return [
            self._row(run, spends.get(run.id, Spend()), entered.get(run.id, (0, 0)), wasted.get(run.id, 0), processes)
            for run in found
        ]

    def _where_open(self) -> str:
        return self._selection.where(time="sent_at", outcomes=OPEN)

    def _row(
        self,
        run: _FoundRun,
        spend: Spend,
        entered: tuple[int, int],
        wasted_picousd: int,
        processes: Mapping[int, list[ProcessRow]],
    ) -> RunRow:
        lives = run.ended_at is None and (
            any(each.status == "running" for each in processes.get(run.id, ()))
            or self._living.has(run.process_id, run.started_at)
        )
        status: Literal["running", "ended", "left"] = (
            "ended" if run.ended_at is not None else "running" if lives else "left"
        )
        return RunRow(
            run_id=run.run_id,
            name=run.name or run.program or run.run_id,
            program=run.program or "",
            started_at=run.started_at or 0,
            ended_at=None if lives else run.ended_at if run.ended_at is not None else run.last_at,
            status=status,
            exit_code=run.exit_code,
            over=run.over,
            limits=json.loads(run.limits),
            spend=spend,
            entered=entered[0],
            breached=entered[1],
            wasted_picousd=wasted_picousd,
            source=run.source,
        )

    def _found_runs(self) -> list[_FoundRun]:
        """Those with calls or steps; where the filter says nothing of calls, also those that have done nothing yet."""
        chosen, selection = self._selection.filter, self._selection
        wanted = " OR ".join(
            f"id IN (SELECT run FROM {table} WHERE {where})"
            for table, where in (
                ("spend", selection.where()),
                ("open_calls", self._where_open()),
                ("steps", selection.where_steps()),
            )
        )
        if not (chosen.steps or chosen.agents or chosen.models or chosen.providers or chosen.labels):
            described = " AND ".join(("is_described", *selection.of_runs()))
            wanted = f"{wanted} OR ({described})"
        rows = self._database.execute(f"SELECT {', '.join(_FoundRun._fields)} FROM runs WHERE {wanted}")
        return [_FoundRun(*row) for row in rows]

    def _wasted(self, runs: list[int]) -> dict[int, int]:
        where = self._selection.where(prefix="spend.")
        return dict(
            self._database.execute(
                f"{below_wasted(is_in('run', runs))} SELECT spend.run, SUM({COST})"
                f" {SPEND_OF_WASTED} WHERE {where} GROUP BY spend.run"
            )
        )

    def _processes(self, runs: list[int]) -> Mapping[int, list[ProcessRow]]:
        of_runs = is_in("files.run", runs)
        rows = self._database.execute(
            "SELECT files.run, files.process_id, files.parent_process_id, files.program, MIN(files.started_at),"
            " runs.ended_at IS NOT NULL FROM files JOIN runs ON runs.id = files.run"
            f" WHERE {of_runs} AND files.process_id IS NOT NULL"
            " GROUP BY files.run, files.process_id ORDER BY MIN(files.started_at)"
        ).fetchall()
        left = {
            tuple(row)
            for row in self._database.execute(
                "SELECT files.run, files.process_id FROM open_calls JOIN files ON files.id = open_calls.file"
                f" WHERE {of_runs} UNION"
                " SELECT files.run, files.process_id FROM files CROSS JOIN steps ON steps.run = files.run"
                f" WHERE {of_runs} AND steps.file = files.id AND status IS NULL AND steps.started_at IS NOT NULL"
            )
        }
        processes: dict[int, list[ProcessRow]] = defaultdict(list)
        for run, process_id, parent, program, began, run_has_ended in rows:
            living = not run_has_ended and self._living.has(process_id, began)
            status: Literal["running", "ended", "left"] = (
                "running" if living else "left" if (run, process_id) in left else "ended"
            )
            processes[run].append(
                ProcessRow(
                    process_id=process_id, parent_process_id=parent, program=program, started_at=began, status=status
                )
            )
        return processes

    def detail(self, name: str) -> RunDetail:
        """One run with all that it did: the one that the filter is for."""
        (row,) = self.rows()
        (number,) = self._database.execute("SELECT id FROM runs WHERE run_id = ?", (name,)).fetchone()
        notes = self._database.execute(
            "SELECT event, facts, count FROM notes WHERE run = ? ORDER BY event, facts", (number,)
        )
        damaged = self._database.execute(
            "SELECT damaged.file, damaged.line, reason FROM damaged JOIN files ON files.name = damaged.file"
            " WHERE files.run = ? ORDER BY 1, 2",
            (number,),
        )
        return RunDetail(
            run=row,
            steps=tuple(outer_first(StepRuns(self._database, self._selection.filter).rows())),
            calls=tuple(Calls(self._database, self._selection.filter).rows()),
            processes=tuple(self._processes([number]).get(number, ())),
            notes=tuple((event, json.loads(facts), count) for event, facts, count in notes),
            damaged=tuple(f"{file}:{line}: {reason}" for file, line, reason in damaged),
        )


def find_run(database: sqlite3.Connection, name: str) -> str:
    """The id of the run that is meant: by its id or the beginning of it, by a trace's id, or "last".

    Raises:
        LookupError: there is none, or several; the message says so.
    """
    if name == "last":
        found = database.execute("SELECT run_id FROM runs ORDER BY started_at DESC, id DESC LIMIT 1").fetchone()
        if found is None:
            raise LookupError("there is no run yet: otel-harn-steps run -- python app.py makes one")
        return str(found[0])
    exact = database.execute("SELECT run_id FROM runs WHERE run_id = ?", (name,)).fetchone()
    if exact is not None:
        return name
    if len(name) == 32 and not set(name.lower()) - set("0123456789abcdef"):
        traced = database.execute(
            "SELECT DISTINCT run_id FROM steps JOIN runs ON runs.id = steps.run WHERE trace_id = ?",
            (bytes.fromhex(name),),
        ).fetchall()
        if len(traced) == 1:
            return str(traced[0][0])
    if len(name) >= _SHORTEST_PREFIX:
        like = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        found = database.execute(
            "SELECT run_id FROM runs WHERE run_id LIKE ? ESCAPE '\\' ORDER BY started_at DESC LIMIT 4", (like,)
        ).fetchall()
        if len(found) == 1:
            return str(found[0][0])
        if found:
            names = ", ".join(run_id for (run_id,) in found[:3])
            raise LookupError(f"{name!r} is the beginning of several runs: {names}{' ...' if len(found) > 3 else ''}")
    raise LookupError(
        f"no run {name!r}: name it by its id, at least {_SHORTEST_PREFIX} characters of the beginning, by a trace's id,"
        " or say last"
    )


def noted(database: sqlite3.Connection, event: str) -> list[tuple[Mapping[str, Any], int]]:
    """The facts of all notes of one kind, and how often each was made."""
    rows = database.execute("SELECT facts, SUM(count) FROM notes WHERE event = ? GROUP BY facts", (event,))
    return [(json.loads(facts), count) for facts, count in rows]
