"""The twelve panels of step spend: what each shows, in PromQL and as a Honeycomb query. All else is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otel_harn_steps._telemetry import names

TITLE = "Step spend"
DESCRIPTION = "What the steps of agent apps spend, waste and breach. Made by otel_harn_steps."

# What Grafana puts into a query when it runs it.
RANGE = "$__range"
INTERVAL = "$__interval"

Kind = Literal["stat", "bars", "bar_gauge", "table", "lines"]


@dataclass(frozen=True, slots=True)
class Series:
    """One PromQL query of a panel.

    `legend` names its lines, or the column of a table; `{{label}}` in it stands for that label's value.
    """

    promql: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's name of it; `width` is of 24, `height` in Grafana's rows."""

    title: str
    description: str
    kind: Kind
    unit: str
    width: int
    height: int
    series: tuple[Series, ...]
    honeycomb: Mapping[str, Any]
    min_interval: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the Grafana dashboard: the values of `label`, as `metric` has them."""

    name: str
    title: str
    label: str
    metric: str


def _prometheus(name: str) -> str:
    """A wire name as Prometheus writes it."""
    return name.replace(".", "_")


def _counter(metric: tuple[str, str, str]) -> str:
    # A unit in braces is an annotation, and no part of the name.
    return f"{_prometheus(metric[0])}_total"


# Resource attributes that `collector-config/step-metrics.yaml` makes labels of.
TENANT, ENVIRONMENT = "tenant.id", "deployment.environment.name"

STEP, MODEL, STATUS = _prometheus(names.STEP_NAME), _prometheus(names.MODEL), _prometheus(names.STATUS)
COST, CALLS, BREACHES = _counter(names.METRIC_COST), _counter(names.METRIC_LLM_CALLS), _counter(names.METRIC_BREACHES)
INPUT, OUTPUT = _counter(names.METRIC_INPUT_TOKENS), _counter(names.METRIC_OUTPUT_TOKENS)
RUN_COST = _prometheus(names.METRIC_RUN_COST[0])
DURATION = f"{_prometheus(names.METRIC_DURATION[0])}_seconds"
RUNS = f"{DURATION}_count"

VARIABLES = (
    Variable("service", "Service", "job", RUNS),
    Variable("environment", "Environment", _prometheus(ENVIRONMENT), COST),
    Variable("tenant", "Tenant", _prometheus(TENANT), COST),
    Variable("step", "Step", STEP, RUNS),
    Variable("model", "Model", MODEL, COST),
)

_OF_A_RUN = tuple(f'{each.label}=~"${each.name}"' for each in VARIABLES if each.name != "model")
_OF_A_CALL = (*_OF_A_RUN, f'{MODEL}=~"$model"')
# The app's own metrics of runs and breaches know no model: a filter on it would empty those panels.
_KNOW_THE_MODEL = {COST, INPUT, OUTPUT}
_WASTED = f'{STATUS}!="completed"'


def growth(selector: str, window: str) -> str:
    """PromQL: what each series of a counter grew in `window`, the first value of a new series included.

    `increase()` does not count that first value, and extrapolates: a step that runs once a day would be free. Here a
    series that was not there in the day before the window grew from 0, and any other from its last value then: exact,
    and what adjoining windows show adds up. A counter that restarted in the window falls back to `increase()`.
    """
    now, before = f"last_over_time({selector}[{window}])", f"last_over_time({selector}[1d] offset {window})"
    return (
        f"{now} - ({before} <= {now} or 0 * {now})"
        f" unless resets({selector}[{window}]) > 0 or increase({selector}[{window}])"
    )


def _grown(metric: str, window: str, *conditions: str) -> str:
    filters = _OF_A_CALL if metric in _KNOW_THE_MODEL else _OF_A_RUN
    return growth(f"{metric}{{{','.join((*filters, *conditions))}}}", window)


def _sum(metric: str, window: str, *conditions: str, by: Sequence[str] = ()) -> str:
    grouping = f" by ({', '.join(by)}) " if by else ""
    return f"sum{grouping}({_grown(metric, window, *conditions)})"


def _quantile(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile}, {_sum(f'{histogram}_bucket', INTERVAL, by=('le', STEP))})"


# -- Honeycomb -------------------------------------------------------------------------------------------------------
_DAY_S = 86_400
# Only step spans have a status; the step's name is on call spans too.
_STEP_SPANS = {"column": names.STATUS, "op": "exists"}
_COUNT = {"op": "COUNT"}


def _of(operation: str, column: str) -> dict[str, str]:
    return {"op": operation, "column": column}


_SPEND = _of("SUM", names.COST_USD)


def _query(
    *calculations: Mapping[str, str],
    by: Sequence[str] = (),
    where: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> dict[str, Any]:
    query: dict[str, Any] = {
        "time_range": _DAY_S,
        "calculations": list(calculations),
        "breakdowns": list(by),
        "filters": [_STEP_SPANS, *where],
        "filter_combination": "AND",
        "limit": 100,
    }
    if by:
        query["orders"] = [{**calculations[0], "order": "descending"}]
    return query | more


_NOT_COMPLETED = {"column": names.STATUS, "op": "!=", "value": "completed"}
_BREACHED = {"column": names.BUDGET_EXCEEDED, "op": "=", "value": True}

PANELS = (
    Panel(
        title="Spend",
        description="US dollars that steps spent in the time shown.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(_sum(COST, RANGE)),),
        honeycomb=_query(_SPEND),
    ),
    Panel(
        title="Projected spend per 30 days",
        description="30 days of what was spent in the time shown. In Honeycomb, of the last 7 days.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(f"{_sum(COST, RANGE)} / $__range_s * {30 * _DAY_S}"),),
        honeycomb=_query(
            _of("SUM", "projected_usd"),
            time_range=7 * _DAY_S,
            calculated_fields=[{"name": "projected_usd", "expression": f"MUL(${names.COST_USD}, DIV(30, 7))"}],
        ),
    ),
    Panel(
        title="Wasted spend",
        description="Spent by runs that did not complete: failed, skipped, escalated, cancelled.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(f"{_sum(COST, RANGE, _WASTED)} or vector(0)"),),
        honeycomb=_query(_SPEND, by=(names.STATUS,), where=(_NOT_COMPLETED,)),
    ),
    Panel(
        title="Budget breaches",
        description="Runs that crossed their budget. The model filter does not apply.",
        kind="stat",
        unit="short",
        width=6,
        height=4,
        series=(Series(f"{_sum(BREACHES, RANGE)} or vector(0)"),),
        honeycomb=_query(_COUNT, by=(names.STEP_NAME,), where=(_BREACHED,)),
    ),
    Panel(
        title="Spend over time by step",
        description="US dollars in each interval, by the step that spent them. Nested steps count for themselves.",
        kind="bars",
        unit="currencyUSD",
        width=16,
        height=8,
        min_interval="1m",
        series=(Series(_sum(COST, INTERVAL, by=(STEP,)), f"{{{{{STEP}}}}}"),),
        honeycomb=_query(_SPEND, by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Spend by model",
        description="US dollars by the model that answered. Metrics made of spans know only a step's last model.",
        kind="bar_gauge",
        unit="currencyUSD",
        width=8,
        height=8,
        series=(Series(f"sort_desc({_sum(COST, RANGE, by=(MODEL,))})", f"{{{{{MODEL}}}}}"),),
        honeycomb=_query(_SPEND, _COUNT, by=(names.MODEL,)),
    ),
    Panel(
        title="Steps",
        description="What each step spent, how often it ran, and both divided. The model filter does not apply.",
        kind="table",
        unit="short",
        width=24,
        height=8,
        series=(
            Series(_sum(f"{RUN_COST}_sum", RANGE, by=(STEP,)), "USD"),
            Series(_sum(RUNS, RANGE, by=(STEP,)), "Runs"),
            Series(f"{_sum(f'{RUN_COST}_sum', RANGE, by=(STEP,))} / {_sum(RUNS, RANGE, by=(STEP,))}", "USD per run"),
            Series(f"{_sum(CALLS, RANGE, by=(STEP,))} / {_sum(RUNS, RANGE, by=(STEP,))}", "Calls per run"),
        ),
        honeycomb=_query(
            _SPEND, _COUNT, _of("AVG", names.COST_USD), _of("AVG", names.LLM_CALLS), by=(names.STEP_NAME,)
        ),
    ),
    Panel(
        title="Cost of one run, p50 and p95",
        description="US dollars that one run of a step spends itself, estimated from buckets.",
        kind="lines",
        unit="currencyUSD",
        width=12,
        height=8,
        min_interval="5m",
        series=(
            Series(_quantile(0.95, RUN_COST), f"p95 {{{{{STEP}}}}}"),
            Series(_quantile(0.5, RUN_COST), f"p50 {{{{{STEP}}}}}"),
        ),
        honeycomb=_query(
            _of("P95", names.COST_USD),
            _of("P50", names.COST_USD),
            _of("HEATMAP", names.COST_USD),
            by=(names.STEP_NAME,),
        ),
    ),
    Panel(
        title="Tokens in and out",
        description="Tokens in each interval. Cached ones are part of the input, reasoning is part of the output.",
        kind="bars",
        unit="short",
        width=12,
        height=8,
        min_interval="1m",
        series=(Series(_sum(INPUT, INTERVAL), "input"), Series(_sum(OUTPUT, INTERVAL), "output")),
        honeycomb=_query(_of("SUM", names.INPUT_TOKENS), _of("SUM", names.OUTPUT_TOKENS)),
    ),
    Panel(
        title="Outcomes that need a look",
        description="Share of a step's runs that did not complete, by how they ended.",
        kind="lines",
        unit="percentunit",
        width=12,
        height=8,
        min_interval="5m",
        series=(
            Series(
                f"{_sum(RUNS, INTERVAL, _WASTED, by=(STEP, STATUS))}"
                f" / on ({STEP}) group_left () {_sum(RUNS, INTERVAL, by=(STEP,))}",
                f"{{{{{STEP}}}}} {{{{{STATUS}}}}}",
            ),
        ),
        honeycomb=_query(_COUNT, by=(names.STEP_NAME, names.STATUS), where=(_NOT_COMPLETED,)),
    ),
    Panel(
        title="Duration of one run, p95",
        description="How long runs of a step take, estimated from buckets.",
        kind="lines",
        unit="s",
        width=12,
        height=8,
        min_interval="5m",
        series=(Series(_quantile(0.95, DURATION), f"{{{{{STEP}}}}}"),),
        honeycomb=_query(_of("P95", "duration_ms"), _of("HEATMAP", "duration_ms"), by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Spend by tenant",
        description="US dollars by the resource attribute tenant.id of the apps that spent them.",
        kind="bar_gauge",
        unit="currencyUSD",
        width=24,
        height=7,
        series=(
            Series(f"sort_desc({_sum(COST, RANGE, by=(_prometheus(TENANT),))})", f"{{{{{_prometheus(TENANT)}}}}}"),
        ),
        honeycomb=_query(_SPEND, _COUNT, by=(TENANT,)),
    ),
)
