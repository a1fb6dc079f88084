"""Which rows of the index a filter means, and by what they are grouped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP
from otel_harn_steps.store._schema import SPEND_SUMS
from otel_harn_steps.store._spend import path_above
from otel_harn_steps.store._views import DIMENSIONS, LABEL, QUARTER_NS, Filter

_HOURS_UP_TO: Final = timedelta(days=2)
_DAYS_UP_TO: Final = timedelta(days=120)
QUARTERS_PER_HOUR: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A step's place in the tree."""

    id: int
    path: str
    name: str
    agent: str | None

    def above(self) -> str:
        """The path of the step around it; empty for an outermost one."""
        return path_above(self.path, self.name)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call: whom it asked for what, and how it ended."""

    id: int
    provider: str
    operation: str
    requested_model: str | None
    model: str | None
    outcome: str
    certainty: str
    price_book: str | None
    terms: str

    @property
    def shown_model(self) -> str:
        """The model that answered, else the one that was asked for; empty where neither is known."""
        return self.model or self.requested_model or ""


_WITH_STATUS: Final = """(
    SELECT spend.*, IIF(step = 0, '', COALESCE(status, 'running')) AS status
    FROM spend LEFT JOIN steps ON steps.id = spend.step
)"""


class Selection:
    """What a filter lets through, as conditions on columns.

    Args:
        database: the index.
        chosen: the filter.
    """

    def __init__(self, database: sqlite3.Connection, chosen: Filter) -> None:
        self._database = database
        self.filter = chosen
        self.places = {row[0]: Place(*row) for row in database.execute("SELECT id, path, name, agent FROM places")}
        self.kinds = {row[0]: Kind(*row) for row in database.execute("SELECT * FROM kinds")}
        self._ended_kinds = {each.id for each in self.kinds.values() if each.outcome != "open"}
        self.label_sets: dict[int, dict[str, str]] = {
            number: json.loads(text) for number, text in database.execute("SELECT id, labels FROM label_sets")
        }
        self.since = None if chosen.since is None else chosen.since // QUARTER_NS
        self.until = None if chosen.until is None else chosen.until // QUARTER_NS
        self._agents = _matching(chosen.agents)
        self._programs = _matching(chosen.programs)
        matches = _matching(chosen.steps)
        self.chosen_places = {
            each.id for each in self.places.values() if matches(each.name) or (each.path and matches(each.path))
        }
        self.of_kinds = bool(chosen.models or chosen.providers)

    def where(
        self,
        *,
        steps: bool = True,
        outcomes: frozenset[str] = BILLED,
        period: tuple[int | None, int | None] | None = None,
        time: str = "quarter",
        prefix: str = "",
    ) -> str:
        """The condition on rows of `spend`, or of `calls` with `time="sent_at"`.

        Args:
            steps: whether the filter's patterns of steps count.
            outcomes: of the calls.
            period: another one than the filter's, in quarters.
            time: the column that has the time: in quarters, or in nanoseconds.
            prefix: of the columns.
        """
        kinds = self._kinds_of(outcomes)
        # Most often every call that has ended is meant: to look each row's kind up would take as long as to add it up.
        parts = ["TRUE"] if set(kinds) == self._ended_kinds else [is_in(f"{prefix}kind", kinds)]
        parts += self._shared(steps=steps, prefix=prefix)
        since, until = period or (self.since, self.until)
        parts += _between(f"{prefix}{time}", since, until, 1 if time == "quarter" else QUARTER_NS)
        return " AND ".join(parts)

    def spend_table(self, column: str = "place") -> str:
        """The table that has the spend by a column: the smaller one where no run has to be told from others."""
        if column == "status":
            return _WITH_STATUS
        of_runs = column == "run" or self.filter.run is not None or self.filter.programs
        return "spend" if of_runs else "spend_of_all_runs"

    def where_steps(self, *, prefix: str = "") -> str:
        """The condition on rows of `steps`: those that have begun in the period."""
        parts = [f"{prefix}place IS NOT NULL", *self._shared(steps=True, prefix=prefix)]
        parts += _between(f"{prefix}started_at", self.since, self.until, QUARTER_NS)
        if self.of_kinds:
            parts.append(f"{prefix}id IN (SELECT step FROM spend WHERE {self.where()})")
        return " AND ".join(parts)

    def of_runs(self) -> list[str]:
        """The conditions on rows of `runs`, by what the filter says of runs alone."""
        parts = _between("started_at", self.since, self.until, QUARTER_NS)
        if self.filter.run is not None or self.filter.programs:
            parts.append(is_in("id", self._runs()))
        return parts

    def _kinds_of(self, outcomes: frozenset[str]) -> list[int]:
        models, providers = _matching(self.filter.models), _matching(self.filter.providers)
        return [
            each.id
            for each in self.kinds.values()
            if each.outcome in outcomes
            and (models(each.model or "") or models(each.requested_model or ""))
            and providers(each.provider)
        ]

    def _shared(self, *, steps: bool, prefix: str) -> list[str]:
        chosen, parts = self.filter, []
        if (steps and chosen.steps) or chosen.agents:
            parts.append(
                is_in(
                    f"{prefix}place",
                    [
                        each.id
                        for each in self.places.values()
                        if (not steps or each.id in self.chosen_places) and self._agents(each.agent or "")
                    ],
                )
            )
        if chosen.labels:
            wanted = chosen.labels.items()
            parts.append(
                is_in(f"{prefix}labels", [id_ for id_, labels in self.label_sets.items() if wanted <= labels.items()])
            )
        if chosen.run is not None or chosen.programs:
            parts.append(is_in(f"{prefix}run", self._runs()))
        return parts

    def _runs(self) -> list[int]:
        named, values = ("", ()) if self.filter.run is None else (" WHERE run_id = ?", (self.filter.run,))
        rows = self._database.execute(f"SELECT id, program FROM runs{named}", values)
        return [number for number, program in rows if self._programs(program or "")]


def _matching(patterns: Iterable[str]) -> Callable[[str], bool]:
    patterns = tuple(patterns)
    return lambda text: not patterns or any(fnmatchcase(text, each) for each in patterns)


def is_in(column: str, numbers: Iterable[int]) -> str:
    """The condition that a column has one of these numbers."""
    return f"{column} IN (SELECT value FROM json_each('{json.dumps(list(numbers))}'))"


def _between(column: str, since: int | None, until: int | None, unit: int) -> list[str]:
    parts = [] if since is None else [f"{column} >= {since * unit}"]
    return parts if until is None else [*parts, f"{column} < {until * unit}"]


# -- what rows are grouped by ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a report's rows are.

    Attributes:
        column: of `spend`, by which its rows are told apart.
        key_of: the key of a row of the report, for the column's value.
        name_of: what to show for a key.
    """

    by: str
    column: str
    key_of: Callable[[Any], str]
    name_of: Callable[[str], str]

    @property
    def is_of_steps(self) -> bool:
        """Whether the rows are steps, which have others below them."""
        return self.by in ("step", "path")


def grouping(by: str, selection: Selection, database: sqlite3.Connection) -> Grouping:
    """What rows by this dimension are.

    Raises:
        ValueError: there is no such dimension; the message says which there are.
    """
    places, kinds, labels = selection.places, selection.kinds, selection.label_sets
    if by.startswith(LABEL) and len(by) > len(LABEL):
        name = by.removeprefix(LABEL)
        return Grouping(by, "labels", lambda id_: labels[id_].get(name, ""), _or(f"(no {name})"))
    match by:
        case "step":
            found = Grouping(by, "place", lambda id_: places[id_].name if places[id_].path else "", _or(NO_STEP))
        case "path":
            names = {each.path: each.name for each in places.values()}
            found = Grouping(by, "place", lambda id_: places[id_].path, lambda key: names[key] if key else NO_STEP)
        case "agent":
            found = Grouping(by, "place", lambda id_: places[id_].agent or "", _or("(no agent)"))
        case "model":
            found = Grouping(by, "kind", lambda id_: kinds[id_].shown_model, _or("(unknown model)"))
        case "provider":
            found = Grouping(by, "kind", lambda id_: kinds[id_].provider, str)
        case "day":
            found = Grouping(by, "quarter", day_of, str)
        case "status":
            found = Grouping(by, "status", str, _or(NO_STEP))
        case "run" | "program":
            found = _of_runs(by, database)
        case _:
            raise ValueError(f"by must be one of {', '.join(DIMENSIONS)}, or label:NAME, not {by!r}")
    return found


def _of_runs(by: str, database: sqlite3.Connection) -> Grouping:
    runs = {row[0]: row[1:] for row in database.execute("SELECT id, run_id, program, name FROM runs")}
    if by == "program":
        return Grouping(by, "run", lambda id_: runs[id_][1] or "", _or("(unknown program)"))
    names = {run_id: name or program or run_id for run_id, program, name in runs.values()}
    return Grouping(by, "run", lambda id_: runs[id_][0], lambda key: names[key])


def _or(nothing: str) -> Callable[[str], str]:
    return lambda key: key or nothing


def day_of(quarter: int) -> str:
    """The local day of a quarter: `2026-11-26`."""
    return local(quarter * QUARTER_NS).strftime("%Y-%m-%d")


def local(nanoseconds: int) -> datetime:
    """A moment in local time."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)).astimezone()


def buckets(first: int, last: int) -> list[int]:
    """The beginnings of the buckets of a trend, from a first to a last quarter: hours, days or weeks of local time."""
    begin, end = local(first * QUARTER_NS), local(last * QUARTER_NS)
    if end - begin <= _HOURS_UP_TO:
        hour = first - first % QUARTERS_PER_HOUR
        return list(range(hour, last + 1, QUARTERS_PER_HOUR))
    length = timedelta(days=1 if end - begin <= _DAYS_UP_TO else 7)
    # By the calendar: a day of local time may have 23 or 25 hours.
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    begins = []
    while (quarter := int(midnight.timestamp()) * 10**9 // QUARTER_NS) <= last:
        begins.append(quarter)
        midnight += length
    return begins


COST: Final = "cost_picousd + estimated_cost_picousd"
"""Of rows of `spend`: what a budget counts."""

SUMS: Final = ", ".join(f"SUM({name})" for name in SPEND_SUMS)
"""Of rows of `spend`, or of `spend_of_all_runs`."""
