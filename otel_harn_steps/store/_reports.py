"""Reports: spend by something, added up from the index."""

from __future__ import annotations

import sqlite3
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.store._runs_of_rows import costs_of, count_runs, runs_of_rows
from otel_harn_steps.store._selection import COST, SUMS, Place, Selection, buckets, grouping
from otel_harn_steps.store._spend import Spend
from otel_harn_steps.store._views import QUARTER_NS, Costs, Filter, Report, Row, Series

OTHER: Final = "other"


class Reporter:
    """Answers one question about the index.

    Args:
        database: the index.
        by: what the rows are: a `Dimension`, or `label:NAME`.
        chosen: which calls.

    Raises:
        ValueError: there is no such dimension.
    """

    def __init__(self, database: sqlite3.Connection, by: str, chosen: Filter) -> None:
        self._database = database
        self._by = by
        self._selection = Selection(database, chosen)
        self._grouping = grouping(by, self._selection, database)

    def report(self) -> Report:
        """Spend by the dimension."""
        spends, totals = self._spends()
        begins, trends = self._trends()
        wasted, failed = self._wasted()
        runs = runs_of_rows(self._database, self._grouping, self._selection)
        if self._grouping.is_of_steps:
            costs, entered, breached, headroom = self._of_step_runs()
        else:
            costs, entered, breached, headroom = runs.costs, {}, self._breached(), {}
        rows = [
            Row(
                key=key,
                name=self._grouping.name_of(key),
                spend=spend,
                total=totals[key] if totals is not None else None,
                runs=runs.count.get(key, 0),
                entered=entered.get(key, 0) if self._grouping.is_of_steps else None,
                costs=costs.get(key, Costs()),
                breached=breached.get(key, 0),
                wasted_picousd=wasted.get(key, 0),
                headroom=headroom.get(key),
                trend=trends.get(key, (0,) * len(begins)),
            )
            for key, spend in spends.items()
        ]
        in_order = sorted(rows, key=(lambda row: row.key) if self._by == "day" else _dearest_first)
        total = _sum(each.spend for each in rows)
        before, before_runs = self._before()
        all_entered, all_breached, breached_steps = self._step_run_counts()
        return Report(
            by=self._by,
            filter=self._selection.filter,
            rows=tuple(in_order),
            total=total,
            before=before,
            runs=len(runs.picousd),
            before_runs=before_runs,
            costs=costs_of(runs.picousd) if total.priced_calls or total.estimated_cost_picousd else Costs(),
            breached=all_breached,
            breached_steps=breached_steps,
            entered=all_entered,
            wasted_picousd=sum(wasted.values()),
            failed_picousd=failed,
            buckets=tuple(each * QUARTER_NS for each in begins),
            trend=tuple(map(sum, zip(*(row.trend for row in rows), strict=True))) if rows else (0,) * len(begins),
            refused=self._count("refused"),
            failed=self._count("failed"),
            damaged=self._numbers("SELECT COUNT(*) FROM damaged")[0],
        )

    def series(self, most: int) -> Series:
        """Spend by time and key: the `most` dearest, and the others together."""
        begins, trends = self._trends()
        buckets = tuple(each * QUARTER_NS for each in begins)
        lines = [(key, self._grouping.name_of(key), values) for key, values in trends.items()]
        return _series(self._by, buckets, lines, most)

    # -- spend ---------------------------------------------------------------------------------------------------------

    def _spends(self) -> tuple[dict[str, Spend], dict[str, Spend] | None]:
        """Own spend by key; and with the steps below, where the rows are steps."""
        column, key_of = self._grouping.column, self._grouping.key_of
        of_steps = self._grouping.is_of_steps
        where = self._selection.where(steps=not of_steps)
        by_id = {
            id_: Spend(*sums)
            for id_, *sums in self._database.execute(
                f"SELECT {column}, {SUMS} FROM {self._selection.spend_table(column)} WHERE {where} GROUP BY {column}"
            )
        }
        for id_, open_calls in self._open_calls(steps=not of_steps):
            by_id.setdefault(id_, Spend()).open_calls += open_calls
        own: dict[str, Spend] = {}
        for id_, spend in by_id.items():
            if not of_steps or id_ in self._selection.chosen_places:
                own.setdefault(key_of(id_), Spend()).add(spend)
        if not of_steps:
            return own, None
        for place, *_ in [] if self._selection.of_kinds else self._entered:
            own.setdefault(key_of(place), Spend())  # a step that has called nothing itself is a row all the same
        return own, self._with_nested(by_id, own)

    def _open_calls(self, *, steps: bool) -> list[tuple[Any, int]]:
        column = self._grouping.column
        expression = {"quarter": f"sent_at / {QUARTER_NS}", "status": "IIF(step IS NULL, '', 'running')"}
        where = self._selection.where(steps=steps, time="sent_at", outcomes=frozenset({"open"}))
        return self._database.execute(
            f"SELECT {expression.get(column, column)}, COUNT(*) FROM open_calls WHERE {where} GROUP BY 1"
        ).fetchall()

    @cached_property
    def _entered(self) -> list[tuple[int, int, int]]:
        """Of each place: how many runs of the step, and how many of them crossed a limit."""
        where = self._selection.where_steps()
        return self._database.execute(
            f"SELECT place, COUNT(*), COUNT(breach) FROM steps WHERE {where} GROUP BY place"
        ).fetchall()

    def _with_nested(self, by_place: Mapping[int, Spend], keys: Iterable[str]) -> dict[str, Spend]:
        totals = {key: Spend() for key in keys}
        by_path = {each.path: each for each in self._selection.places.values()}
        for id_, spend in by_place.items():
            for key in {self._grouping.key_of(each.id) for each in _and_above(self._selection.places[id_], by_path)}:
                if key in totals:
                    totals[key].add(spend)
        return totals

    def _trends(self) -> tuple[list[int], dict[str, tuple[int, ...]]]:
        """The buckets' first quarters, and what was spent in each, by key."""
        column = self._grouping.column
        rows = self._database.execute(
            f"SELECT {column}, quarter, SUM({COST}) FROM {self._selection.spend_table(column)}"
            f" WHERE {self._selection.where()} GROUP BY 1, 2"
        ).fetchall()
        since, until = self._selection.since, self._selection.until
        quarters = [quarter for _, quarter, _ in rows]
        first = since if since is not None else min(quarters, default=None)
        if first is None:
            return [], {}
        last = until - 1 if until is not None else _last_quarter(since, quarters)
        begins = buckets(first, max(first, last))
        trends: dict[str, list[int]] = defaultdict(lambda: [0] * len(begins))
        for id_, quarter, picousd in rows:
            trends[self._grouping.key_of(id_)][max(bisect_right(begins, quarter) - 1, 0)] += picousd
        return begins, {key: tuple(values) for key, values in trends.items()}

    def _before(self) -> tuple[Spend | None, int | None]:
        """What the period of the same length before it has spent, and in how many runs."""
        since, until = self._selection.since, self._selection.until
        if since is None:
            return None, None
        end = until if until is not None else time.time_ns() // QUARTER_NS + 1
        where = self._selection.where(period=(since - max(end - since, 1), since))
        sums = self._database.execute(f"SELECT COUNT(DISTINCT run), {SUMS} FROM spend WHERE {where}").fetchone()
        return Spend(*(each or 0 for each in sums[1:])), sums[0]

    def _count(self, outcome: str) -> int:
        where = self._selection.where(outcomes=frozenset({outcome}))
        return self._numbers(f"SELECT COALESCE(SUM(calls), 0) FROM {self._selection.spend_table()} WHERE {where}")[0]

    # -- runs, and runs of steps ---------------------------------------------------------------------------------------

    def runs(self) -> dict[str, int]:
        """How many runs of programs have calls, by key."""
        return count_runs(self._database, self._grouping, self._selection).count

    def _breached(self) -> dict[str, int]:
        """Runs of steps that crossed a limit, by key, where a step has what the rows are of."""
        breached: dict[str, int] = defaultdict(int)
        column = self._grouping.column
        expression = {"quarter": f"started_at / {QUARTER_NS}", "kind": None, "status": None}.get(column, column)
        if expression is not None:
            where = self._selection.where_steps()
            for id_, count in self._database.execute(
                f"SELECT {expression}, COUNT(*) FROM steps WHERE breach IS NOT NULL AND {where} GROUP BY 1"
            ):
                if id_ is not None:
                    breached[self._grouping.key_of(id_)] += count
        return breached

    def _of_step_runs(self) -> tuple[dict[str, Costs], dict[str, int], dict[str, int], dict[str, float]]:
        """Cost of one run, how many runs, breaches, and headroom, by step."""
        key_of = self._grouping.key_of
        where = self._selection.where_steps()
        entered: dict[str, int] = defaultdict(int)
        breached: dict[str, int] = defaultdict(int)
        for place, count, breaches in self._entered:
            entered[key_of(place)] += count
            breached[key_of(place)] += breaches
        spent: dict[str, list[int]] = defaultdict(list)
        for place, picousd in self._database.execute(
            f"SELECT place, picousd FROM steps WHERE {where} AND status IS NOT NULL AND (calls > unknown OR calls = 0)"
        ):
            spent[key_of(place)].append(picousd)
        costs = {key: costs_of(each) for key, each in spent.items()}
        headroom = {}
        for place, max_usd in self._database.execute(
            f"SELECT place, json_extract(limits, '$.max_usd') FROM steps WHERE id IN ("
            f" SELECT MAX(id) FROM steps WHERE limits IS NOT NULL AND {where} GROUP BY place)"
        ):
            p95, limit = costs.get(key_of(place), Costs()).p95_picousd, to_picousd(max_usd) if max_usd else None
            if p95 is not None and limit:
                headroom[key_of(place)] = 1 - p95 / limit
        return costs, entered, breached, headroom

    def _step_run_counts(self) -> tuple[int, int, int]:
        """How many runs of steps: all, those that crossed a limit, and of how many steps these are."""
        breached = [place for place, _, breaches in self._entered if breaches]
        return (
            sum(count for _, count, _ in self._entered),
            sum(breaches for *_, breaches in self._entered),
            len({self._selection.places[each].path for each in breached}),
        )

    def _wasted(self) -> tuple[dict[str, int], int]:
        """What was spent in or below steps that ended failed or skipped, by key; and in or below failed ones."""
        column = {"status": "status"}.get(self._by, f"spend.{self._grouping.column}")
        wasted: dict[str, int] = defaultdict(int)
        failed = 0
        for id_, is_failed, picousd in self._database.execute(
            f"{below_wasted()} SELECT {column}, is_failed, SUM({COST}) {SPEND_OF_WASTED}"
            f" WHERE {self._selection.where(prefix='spend.')} GROUP BY 1, 2"
        ):
            wasted[self._grouping.key_of(id_)] += picousd
            failed += picousd if is_failed else 0
        return wasted, failed

    def _numbers(self, query: str) -> list[int]:
        return [number for (number,) in self._database.execute(query)]


def below_wasted(among: str = "TRUE") -> str:
    """The table `wasted`, before a query: the steps that ended failed or skipped, and all below them, each once.

    Args:
        among: which of the steps that ended so, as a condition.
    """
    return f"""
WITH RECURSIVE below (step, is_failed) AS (
    SELECT id, status = 'failed' FROM steps WHERE status IN ('failed', 'skipped') AND {among}
    UNION
    SELECT steps.id, is_failed FROM below JOIN steps ON steps.parent = below.step
), wasted (step, is_failed) AS MATERIALIZED (SELECT step, MAX(is_failed) FROM below GROUP BY step)
"""


SPEND_OF_WASTED: Final = (
    "FROM wasted JOIN steps ON steps.id = wasted.step JOIN spend ON spend.run = steps.run AND spend.step = steps.id"
)


def series_of(report: Report, most: int = 6) -> Series:
    """The spend of a report's rows by time, for a chart: the `most` dearest, and the others together."""
    lines = [(row.key, row.name, row.trend) for row in report.rows if row.spend.calls]
    return _series(report.by, report.buckets, lines, most)


def _series(by: str, buckets: tuple[int, ...], lines: list[tuple[str, str, tuple[int, ...]]], most: int) -> Series:
    dearest = sorted(lines, key=lambda line: (-sum(line[2]), line[0]))
    kept, others = dearest[:most], [values for *_, values in dearest[most:]]
    others_key = [OTHER] if others else []
    return Series(
        by=by,
        keys=(*(key for key, *_ in kept), *others_key),
        names=(*(name for _, name, _ in kept), *others_key),
        buckets=buckets,
        values=(*(values for *_, values in kept), *([tuple(map(sum, zip(*others, strict=True)))] if others else [])),
        has_other=bool(others),
    )


def _and_above(place: Place, by_path: Mapping[str, Place]) -> Iterable[Place]:
    """The place, and those around it."""
    yield place
    above = place.above()
    while above:
        found = by_path.get(above)
        if found is None:  # nothing is known of it but its path
            return
        yield found
        above = found.above()


def _last_quarter(since: int | None, quarters: list[int]) -> int:
    """Up to now where the period has a beginning; else to the last spend."""
    now = time.time_ns() // QUARTER_NS
    last = max(quarters, default=now)
    return last if since is None else max(now, last)


def _dearest_first(row: Row) -> tuple[object, ...]:
    total = row.total or row.spend
    return (
        not row.key,
        -total.cost_picousd - total.estimated_cost_picousd,
        -total.calls - total.open_calls,
        row.key,
    )


def _sum(spends: Iterable[Spend]) -> Spend:
    total = Spend()
    for each in spends:
        total.add(each)
    return total
