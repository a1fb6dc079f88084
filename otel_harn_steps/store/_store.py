"""A store: the folder in which the journals of runs are kept, and what can be asked of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._call_rows import Calls
from otel_harn_steps.store._index import Index
from otel_harn_steps.store._reading import DamagedLine
from otel_harn_steps.store._reports import Reporter
from otel_harn_steps.store._runs import Runs, find_run, noted
from otel_harn_steps.store._step_runs import StepRuns
from otel_harn_steps.store._views import Filter, Report, RunDetail, RunRow, Series, StepRun

EVERYTHING = Filter()


class Store:
    """The journals of a folder, through an index that is made as they are read.

    The index is a file of the folder, `index.sqlite`; where the folder cannot be written, it is in memory. It may be
    deleted. Needs the `cli` extra.

    Args:
        folder: of the journals. It may not be there yet.

    Raises:
        ValueError: a newer version of the package has made the index, or a journal.
        OSError: a file cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._index = Index(self.folder)
        self._lock = threading.RLock()  # one connection, whichever thread asks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def update(self) -> bool:
        """Read what is new in the folder. Returns whether anything was.

        Raises:
            JournalVersionError: a file is of a newer version than this package can read.
            OSError: a file cannot be read.
        """
        with self._lock:
            return self._index.update()

    @property
    def damaged(self) -> list[DamagedLine]:
        """The lines that could not be read."""
        with self._lock:
            return self._index.damaged()

    def report(self, by: str = "step", chosen: Filter = EVERYTHING) -> Report:
        """Spend by something.

        Args:
            by: one of `DIMENSIONS`, or `label:NAME`.
            chosen: which calls.

        Raises:
            ValueError: `by` is neither.
        """
        with self._lock:
            return Reporter(self._index.database, by, chosen).report()

    def series(self, by: str = "step", chosen: Filter = EVERYTHING, most: int = 6) -> Series:
        """Spend by time and key, for a chart.

        Args:
            by: one of `DIMENSIONS`, or `label:NAME`.
            chosen: which calls.
            most: how many keys have values of their own. The others are added up as "other".

        Raises:
            ValueError: `by` is no dimension.
        """
        with self._lock:
            return Reporter(self._index.database, by, chosen).series(most)

    def runs_by(self, by: str, chosen: Filter = EVERYTHING) -> dict[str, int]:
        """How many runs of programs have calls, by a report's keys.

        Args:
            by: one of `DIMENSIONS`, or `label:NAME`.
            chosen: which calls.

        Raises:
            ValueError: `by` is no dimension.
        """
        with self._lock:
            return Reporter(self._index.database, by, chosen).runs()

    def runs(
        self, chosen: Filter = EVERYTHING, *, order: Literal["newest", "cost"] = "newest", limit: int | None = 50
    ) -> list[RunRow]:
        """The runs, newest first or dearest first, with what the chosen calls have spent in them."""
        with self._lock:
            return Runs(self._index.database, chosen).rows(order, limit)

    def run(self, name: str) -> RunDetail:
        """One run with all that it did.

        Args:
            name: its id or the beginning of it (4 characters or more), the id of a trace, or "last".

        Raises:
            LookupError: there is none, or several; the message says so.
        """
        with self._lock:
            run_id = find_run(self._index.database, name)
            return Runs(self._index.database, Filter(run=run_id)).detail(run_id)

    def calls(self, chosen: Filter = EVERYTHING) -> Iterator[CallRow]:
        """Every call of the ledger, in the order in which they were sent; also those that are not billed, or open."""
        with self._lock:
            yield from Calls(self._index.database, chosen).rows()

    def step_runs(self, chosen: Filter = EVERYTHING, *, living_since: int | None = None) -> Iterator[StepRun]:
        """Every run of a step, in the order in which they began.

        Args:
            chosen: which steps.
            living_since: only those that have not ended, or have since then, in nanoseconds since the epoch.
        """
        with self._lock:
            yield from StepRuns(self._index.database, chosen).rows(living_since)

    def breaches(self, chosen: Filter = EVERYTHING, limit: int = 50) -> list[StepRun]:
        """The runs of steps that crossed a limit, the newest first."""
        with self._lock:
            return StepRuns(self._index.database, chosen).breached(limit)

    def notes(self, event: str) -> list[tuple[Mapping[str, Any], int]]:
        """What was noted in any run: the facts of each note of one kind, and how often it was made."""
        with self._lock:
            return noted(self._index.database, event)
