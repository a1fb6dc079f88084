"""One panel: what it shows, and how each backend is asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otel_harn_steps._telemetry import names
from otel_harn_steps.dashboard._languages import PROMQL, Language

Kind = Literal["stat", "bars", "bar_gauge", "table", "lines"]
Unit = Literal["currencyUSD", "short", "percentunit", "s"]
"""Grafana's names of the units."""


@dataclass(frozen=True, slots=True)
class Series:
    """One query of a panel, in any language.

    `legend` names its lines, or the column of a table; `{{label}}` in it stands for that label's value.
    """

    query: Callable[[Language], str]
    legend: str = ""

    @property
    def promql(self) -> str:
        """The query as Grafana asks it."""
        return self.query(PROMQL)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `width` is of 24, `height` in Grafana's rows.

    Attributes:
        honeycomb: the query over spans. None: spans do not know it.
        min_interval: the shortest interval that has a point of its own.
        thresholds: from which value on Grafana shows which colour. The first colour holds from the lowest value on.
    """

    title: str
    description: str
    kind: Kind
    unit: Unit
    width: int
    height: int
    series: tuple[Series, ...]
    honeycomb: Mapping[str, Any] | None
    min_interval: str | None = None
    thresholds: tuple[tuple[float, str], ...] = ()


DAY_S = 86_400
# Only step spans have a status; the step's name is on call spans too.
_STEP_SPANS = {"column": names.STATUS, "op": "exists"}
COUNT = {"op": "COUNT"}


def of(operation: str, column: str) -> dict[str, str]:
    """A calculation of Honeycomb."""
    return {"op": operation, "column": column}


def spans_query(
    *calculations: Mapping[str, str],
    by: Sequence[str] = (),
    where: Sequence[Mapping[str, Any]] = (),
    spans: Mapping[str, Any] = _STEP_SPANS,
    **more: Any,
) -> dict[str, Any]:
    """A query of Honeycomb, over the spans of steps unless `spans` says which."""
    query: dict[str, Any] = {
        "time_range": DAY_S,
        "calculations": list(calculations),
        "breakdowns": list(by),
        "filters": [spans, *where],
        "filter_combination": "AND",
        "limit": 100,
    }
    if by:
        query["orders"] = [{**calculations[0], "order": "descending"}]
    return query | more
