"""The Grafana dashboard. `python -m otel_harn_steps.dashboard.grafana` prints it, for Grafana's "Import dashboard".

What is printed is the file next to this module. With `--write` that file is made anew from the panel table; this needs
the extra `dashboards`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from otel_harn_steps._telemetry import names
from otel_harn_steps.dashboard._command import print_or_write
from otel_harn_steps.dashboard._languages import STEP, VARIABLES, Variable
from otel_harn_steps.dashboard._panel import Kind, Panel
from otel_harn_steps.dashboard._panels import DESCRIPTION, PANELS, TITLE

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
    from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    Builder = stat.Panel | bargauge.Panel | table.Panel | timeseries.Panel

FILE = Path(__file__).with_name("step-spend.grafana.json")
UID = "harn-step-spend"
# Answered once, at the end of the time shown; the others at every point of it.
_INSTANT: tuple[Kind, ...] = ("stat", "bar_gauge", "table")
_LINK_TITLE = "Traces with this step"
# The variable with the data source that the links lead to.
_TRACES = "traces"


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it. Needs the extra `dashboards`."""
    from grafana_foundation_sdk.builders import dashboard as builders  # noqa: PLC0415 -- only who makes it anew has it
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415
    from grafana_foundation_sdk.models import dashboard as models  # noqa: PLC0415

    made = (
        builders.Dashboard(TITLE)
        .uid(UID)
        .description(DESCRIPTION)
        .tags(["llm", "cost", "otel_harn_steps"])
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(builders.DatasourceVariable(_TRACES).label("Traces").type("tempo"))
    )
    for variable in VARIABLES:
        made = made.with_variable(_variable(variable))
    for number, panel in enumerate(PANELS, 1):
        made = made.with_panel(_panel(panel).id(number))
    document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    for variable_made in document["templating"]["list"]:
        # The SDK writes these for every variable; Grafana's schema knows them for intervals only.
        for surplus in ("auto", "auto_min", "auto_count"):
            variable_made.pop(surplus, None)
    return document


def _datasource() -> DataSourceRef:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef  # noqa: PLC0415

    return DataSourceRef(type_val="prometheus", uid="${datasource}")


def _variable(variable: Variable) -> Any:
    from grafana_foundation_sdk.builders.dashboard import QueryVariable  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import VariableRefresh, VariableSort  # noqa: PLC0415

    return (
        QueryVariable(variable.name)
        .label(variable.title)
        .query(f"label_values({variable.metric}, {variable.label})")
        .datasource(_datasource())
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        # Also fits series without the label: the app's own metrics know no tenant, unless the Collector adds it.
        .all_value(".*")
    )


def _panel(panel: Panel) -> Builder:
    from grafana_foundation_sdk.builders import prometheus  # noqa: PLC0415
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat  # noqa: PLC0415

    made = _KINDS[panel.kind](panel)
    made = made.title(panel.title).description(panel.description).datasource(_datasource())
    made = made.unit(panel.unit).span(panel.width).height(panel.height)
    if panel.min_interval is not None:
        made = made.interval(panel.min_interval)
    if panel.thresholds:
        made = made.thresholds(_thresholds(panel))
    if panel.kind != "table" and any(f"{{{{{STEP}}}}}" in series.legend for series in panel.series):
        made = made.data_links([_link(_traces_of(f"${{__field.labels.{STEP}:percentencode}}"))])
    for index, series in enumerate(panel.series):
        query = prometheus.Dataquery().ref_id(_ref(index)).datasource(_datasource()).expr(series.promql)
        query = query.instant() if panel.kind in _INSTANT else query.range()
        if panel.kind == "table":
            query = query.format(PromQueryFormat.TABLE)
        elif series.legend:
            query = query.legend_format(series.legend)
        made = made.with_target(query)
    return made


def _thresholds(panel: Panel) -> ThresholdsConfig:
    from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode  # noqa: PLC0415

    (_, lowest), *above = panel.thresholds
    steps = [Threshold(value=None, color=lowest), *(Threshold(value=value, color=color) for value, color in above)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _link(address: str) -> DashboardLink:
    from grafana_foundation_sdk.builders.dashboard import DashboardLink  # noqa: PLC0415

    return DashboardLink(_LINK_TITLE).url(address).target_blank(target_blank=True)


def _traces_of(step: str) -> str:
    """The address of the traces, in the time shown, in which a step ran.

    Args:
        step: what Grafana puts the step's name in for.
    """
    puts_in = {"DATASOURCE": f"${{{_TRACES}}}", "FROM": "${__from}", "TO": "${__to}", "STEP": step}
    query = {
        "refId": "A",
        "datasource": {"type": "tempo", "uid": "DATASOURCE"},
        "queryType": "traceql",
        "query": f'{{ span.{names.STEP_NAME} = "STEP" }}',
    }
    panes = {"t": {"datasource": "DATASOURCE", "queries": [query], "range": {"from": "FROM", "to": "TO"}}}
    encoded = quote(json.dumps(panes), safe="")
    for word, variable in puts_in.items():
        encoded = encoded.replace(word, variable)
    return f"/explore?schemaVersion=1&panes={encoded}"


def _ref(index: int) -> str:
    """The name of a panel's query: A, B, ..."""
    return chr(ord("A") + index)


def _stat(_: Panel) -> Builder:
    from grafana_foundation_sdk.builders import stat  # noqa: PLC0415

    return stat.Panel()


def _bar_gauge(_: Panel) -> Builder:
    from grafana_foundation_sdk.builders import bargauge  # noqa: PLC0415
    from grafana_foundation_sdk.models.common import VizOrientation  # noqa: PLC0415

    return bargauge.Panel().orientation(VizOrientation.HORIZONTAL).min(0)


def _lines(panel: Panel) -> Builder:
    from grafana_foundation_sdk.builders import timeseries  # noqa: PLC0415
    from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig  # noqa: PLC0415
    from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode, VisibilityMode  # noqa: PLC0415

    # Rare steps have single points between gaps, which a line alone would not show.
    made = timeseries.Panel()
    if panel.thresholds:
        made = made.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return made.line_width(2).fill_opacity(5).show_points(VisibilityMode.ALWAYS).min(0)


def _bars(_: Panel) -> Builder:
    from grafana_foundation_sdk.builders import common, timeseries  # noqa: PLC0415
    from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode  # noqa: PLC0415

    stacked = common.StackingConfig().mode(StackingMode.NORMAL)
    return timeseries.Panel().draw_style(GraphDrawStyle.BARS).fill_opacity(80).line_width(0).stacking(stacked)


def _table(panel: Panel) -> Builder:
    from grafana_foundation_sdk.builders import common, table  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import (  # noqa: PLC0415
        DataTransformerConfig,
        DynamicConfigValue,
    )

    columns = {f"Value #{_ref(index)}": each.legend for index, each in enumerate(panel.series)}
    times = ["Time", *(f"Time {index}" for index, _ in enumerate(panel.series, 1))]
    made = table.Panel().transformations(
        [
            DataTransformerConfig(id_val="joinByField", options={"byField": STEP, "mode": "outer"}),
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": dict.fromkeys(times, True), "renameByName": {STEP: "Step", **columns}},
            ),
        ]
    )
    # The first column is what was spent.
    made = made.sort_by([common.TableSortByFieldState().display_name(panel.series[0].legend).desc(desc=True)])
    link = {"title": _LINK_TITLE, "url": _traces_of("${__value.raw:percentencode}"), "targetBlank": True}
    made = made.override_by_name("Step", [DynamicConfigValue(id_val="links", value=[link])])
    for title in columns.values():
        if title.startswith("USD"):
            made = made.override_by_name(title, [DynamicConfigValue(id_val="unit", value="currencyUSD")])
    return made


_KINDS: dict[Kind, Callable[[Panel], Builder]] = {
    "stat": _stat,
    "bars": _bars,
    "bar_gauge": _bar_gauge,
    "table": _table,
    "lines": _lines,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the dashboard, or make its file anew. Returns the exit code."""
    return print_or_write(FILE, dashboard, "Grafana", arguments)


if __name__ == "__main__":
    sys.exit(main())
