"""The dashboard in the page of VictoriaMetrics. `python -m otel_harn_steps.dashboard.victoriametrics` prints it.

VictoriaMetrics shows every file of the folder that `-vmui.customDashboardsPath` names, under "Dashboards". Its panels
are lines: a total grows from 0 at the left to what was spent in the time shown, at the right. With `--write` the file
next to this module, which is what is printed, is made anew from the panel table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from otel_harn_steps.dashboard._command import print_or_write
from otel_harn_steps.dashboard._languages import METRICSQL, STEP
from otel_harn_steps.dashboard._panel import Panel, Series, Unit
from otel_harn_steps.dashboard._panels import PANELS, TITLE

FILE = Path(__file__).with_name("step-spend.victoriametrics.json")

_COLUMNS, _GRAFANA_COLUMNS = 12, 24
# What it writes on the axis of values.
_UNITS: dict[Unit, str] = {"currencyUSD": "USD", "s": "s"}


def dashboard() -> dict[str, Any]:
    """The dashboard, as VictoriaMetrics reads it. One row, because it shows all others folded."""
    return {"title": TITLE, "rows": [{"title": TITLE, "panels": [made for each in PANELS for made in _panels(each)]}]}


def _panels(panel: Panel) -> Iterator[dict[str, Any]]:
    """A panel; of a table each column is one, as the columns have different units."""
    if panel.kind != "table":
        yield _panel(panel.title, panel.description, panel.unit, panel.width, panel.series)
        return
    for column in panel.series:
        unit: Unit = "currencyUSD" if column.legend.startswith("USD") else panel.unit
        series = Series(column.query, f"{{{{{STEP}}}}}")
        title = f"{panel.title}: {column.legend}"
        yield _panel(title, panel.description, unit, panel.width // len(panel.series), (series,))


def _panel(title: str, description: str, unit: Unit, width: int, series: Sequence[Series]) -> dict[str, Any]:
    made = {
        "title": title,
        "description": description,
        "width": width * _COLUMNS // _GRAFANA_COLUMNS,
        "expr": [each.query(METRICSQL) for each in series],
        "alias": [each.legend or title for each in series],
    }
    return {**made, "unit": _UNITS[unit]} if unit in _UNITS else made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the dashboard, or make its file anew. Returns the exit code."""
    return print_or_write(FILE, dashboard, "VictoriaMetrics", arguments)


if __name__ == "__main__":
    sys.exit(main())
