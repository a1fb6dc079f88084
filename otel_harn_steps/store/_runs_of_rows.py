"""Runs of programs behind the rows of a report: how many, and what one of them costs."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field

from otel_harn_steps.store._selection import COST, Grouping, Selection
from otel_harn_steps.store._views import Costs


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of programs: how many have calls, by key, what one costs within a row, and what each has cost in all."""

    count: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    costs: dict[str, Costs] = field(default_factory=dict)
    picousd: list[int] = field(default_factory=list)


def runs_of_rows(database: sqlite3.Connection, grouping: Grouping, selection: Selection) -> Runs:
    """The runs behind the rows. Where these are steps or states, `costs` is empty: they have that of their own runs."""
    if grouping.is_of_steps or grouping.column == "status":
        return count_runs(database, grouping, selection)
    return _by_row(database, grouping, selection)


def count_runs(database: sqlite3.Connection, grouping: Grouping, selection: Selection) -> Runs:
    """The runs behind the rows, without `costs`."""
    column, runs = grouping.column, Runs()
    of_text = str if column == "status" else int
    table = selection.spend_table(column) if column == "status" else "spend"
    keys: dict[str, set[str]] = {}  # many runs have the same
    for picousd, ids in database.execute(
        f"SELECT SUM({COST}), GROUP_CONCAT(DISTINCT {column}) FROM {table} WHERE {selection.where()} GROUP BY run"
    ):
        runs.picousd.append(picousd)
        if ids not in keys:
            keys[ids] = {grouping.key_of(of_text(each)) for each in ids.split(",")}
        for key in keys[ids]:
            runs.count[key] += 1
    return runs


def _by_row(database: sqlite3.Connection, grouping: Grouping, selection: Selection) -> Runs:
    spent: dict[str, dict[int, int]] = defaultdict(dict)
    known: dict[str, dict[int, int]] = defaultdict(dict)
    in_all: dict[int, int] = defaultdict(int)
    for id_, run, picousd, is_known in database.execute(
        f"SELECT {grouping.column}, run, SUM({COST}), SUM(calls) > SUM(unknown_calls) FROM spend"
        f" WHERE {selection.where()} GROUP BY 1, 2"
    ):
        key = grouping.key_of(id_)
        in_all[run] += picousd
        spent[key][run] = spent[key].get(run, 0) + picousd
        if is_known:
            known[key][run] = known[key].get(run, 0) + picousd
    return Runs(
        count={key: len(each) for key, each in spent.items()},
        costs={key: costs_of(list(each.values())) for key, each in known.items()},
        picousd=list(in_all.values()),
    )


def costs_of(picousd: list[int]) -> Costs:
    """What one run costs, over several."""
    if not picousd:
        return Costs()
    in_order = sorted(picousd)
    p50, p95, p99 = (in_order[-(-len(in_order) * percent // 100) - 1] for percent in (50, 95, 99))
    return Costs(p50_picousd=p50, p95_picousd=p95, p99_picousd=p99, most_picousd=in_order[-1])
