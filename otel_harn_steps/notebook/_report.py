"""`report(...)`: what steps have cost, shown by a notebook as a table with its tree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from otel_harn_steps._telemetry.delivery import dropped_completed_steps, peek_completed_steps
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.cli._reading_options import read_time
from otel_harn_steps.notebook._frames import columns_of_calls, columns_of_rows, columns_of_step_runs, library
from otel_harn_steps.notebook._html import html_of
from otel_harn_steps.notebook._sources import OfFolder, OfRecords, Source
from otel_harn_steps.notebook._tables import Table, headline, remarks, table_of, tree_of
from otel_harn_steps.notebook._text import text_of
from otel_harn_steps.store import Filter, Report

What = Literal["rows", "steps", "calls"]
_MOST_ROWS: Final = 30

Patterns = str | Iterable[str]
"""A pattern as of `fnmatch`, or several of which one matches."""


class SpendReport:
    """What steps have cost, as it was when it was asked for. A notebook shows it; `print` shows it as text.

    Attributes:
        view: its numbers: see `otel_harn_steps.store.Report`.
    """

    def __init__(self, source: Source, by: str, chosen: Filter, *, remark: str | None = None) -> None:
        self.view: Report = source.report(by, chosen)
        self._by_path: Report = self.view if by == "path" else source.report("path", chosen)
        self._source = source
        self._chosen = chosen
        self._remark = remark

    def to_pandas(self, what: What = "rows") -> Any:
        """A `pandas.DataFrame`. Costs are US dollars, None where they are unknown.

        Args:
            what: "rows" of this report, one row for each run of the "steps", or one for each of the "calls".

        Raises:
            ImportError: pandas is not installed.
            ValueError: there is no such frame; or single calls were asked for, of records.
        """
        return library("pandas").DataFrame(self._columns(what))

    def to_polars(self, what: What = "rows") -> Any:
        """The same as a `polars.DataFrame`."""
        # All rows decide about the types of columns: the first of them may be None.
        return library("polars").DataFrame(self._columns(what), infer_schema_length=None)

    def _columns(self, what: What) -> dict[str, list[Any]]:
        if what == "rows":
            return columns_of_rows(self.view)
        if what == "steps":
            return columns_of_step_runs(self._source.step_runs(self._chosen))
        if what == "calls":
            return columns_of_calls(self._source.calls(self._chosen))
        raise ValueError(f"what must be 'rows', 'steps' or 'calls', not {what!r}")

    def _tables(self) -> list[tuple[str, Table]]:
        if not self.view.rows:
            return []
        tree = tree_of(self._by_path, _MOST_ROWS)
        order = "" if self.view.by == "day" else ", most expensive first"
        tables = [(f"by {self.view.by}{order}", table_of(self.view, _MOST_ROWS))]
        if tree is None:
            return tables
        return [*([] if self.view.by == "path" else tables), ("steps in steps", tree)]

    def _remarks(self) -> list[str]:
        hint = [] if self.view.rows else [self._source.hint]
        return [*hint, *remarks(self.view), *([] if self._remark is None else [self._remark])]

    def _repr_html_(self) -> str:
        return html_of(headline(self.view, self._source.where), self._tables(), self._remarks())

    def __repr__(self) -> str:
        blocks = [[headline(self.view, self._source.where)], *(list(text_of(table)) for _, table in self._tables())]
        if self._remarks():
            blocks.append(self._remarks())
        return "\n\n".join(map("\n".join, blocks))


def report(
    by: str = "step",
    *,
    records: str | os.PathLike[str] | Iterable[CompletedStep] | None = None,
    since: str | int | None = None,
    until: str | int | None = None,
    step: Patterns = (),
    agent: Patterns = (),
    model: Patterns = (),
    provider: Patterns = (),
    labels: Mapping[str, str] | None = None,
    run: str | None = None,
) -> SpendReport:
    """What steps have cost: in a notebook a table with its tree, for `print` the same as text.

    Args:
        by: what the rows are: "step", "path", "agent", "model", "provider", "run", "day", "status" or "label:NAME"; of
            a folder also "program".
        records: a folder of journals, as `otel-harn-steps run` keeps it (needs the `cli` extra), or `CompletedStep`
            records. None: the steps that have ended in this process, as `peek_completed_steps()` has them.
        since: from then on: "7d", "24h", "today", "2026-11-26", or nanoseconds since the epoch.
        until: before then, as `since`.
        step: only steps of that name or path: a pattern such as "plan*", or several.
        agent: only agents of that name, as `step`.
        model: only models of that name, as `step`.
        provider: only providers of that name, as `step`.
        labels: only what has these labels.
        run: only the run of that id.

    Raises:
        ValueError: `by`, `since` or `until` is wrong; the message says what is allowed.
        NotADirectoryError: there is no such folder.
        ModuleNotFoundError: a folder was asked for, and the `cli` extra is not installed.
    """
    chosen = Filter(
        since=_moment("since", since),
        until=_moment("until", until),
        steps=_patterns(step),
        agents=_patterns(agent),
        models=_patterns(model),
        providers=_patterns(provider),
        labels=dict(labels or {}),
        run=run,
    )
    source, remark = _source(records)
    return SpendReport(source, by, chosen, remark=remark)


def _source(records: str | os.PathLike[str] | Iterable[CompletedStep] | None) -> tuple[Source, str | None]:
    if records is None:
        dropped = dropped_completed_steps()
        remark = f"the log holds the last records only: {dropped:,} older ones were dropped" if dropped else None
        return OfRecords(tuple(peek_completed_steps()), "this process"), remark
    if isinstance(records, (str, os.PathLike)):
        folder = Path(records).absolute()
        if not folder.is_dir():
            raise NotADirectoryError(f"records={str(records)!r}: there is no such folder")
        return OfFolder(folder), None
    kept = tuple(records)
    return OfRecords(kept, f"{len(kept):,} records"), None


def _moment(name: str, given: str | int | None) -> int | None:
    return read_time(name, given) if isinstance(given, str) else given


def _patterns(given: Patterns) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
