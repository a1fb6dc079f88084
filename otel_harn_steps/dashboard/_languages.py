"""What a panel asks for, as PromQL with Grafana's variables, and as MetricsQL for the page of VictoriaMetrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_harn_steps._telemetry import names


def as_label(name: str) -> str:
    """A name on the wire as Prometheus writes it."""
    return name.replace(".", "_")


def _counter(metric: tuple[str, str, str]) -> str:
    # A unit in braces is an annotation, and no part of the name.
    return f"{as_label(metric[0])}_total"


# Resource attributes that `collector-config/step-metrics.yaml` makes labels of.
TENANT, ENVIRONMENT = "tenant.id", "deployment.environment.name"
LABELLED_TENANT = "harn_label_tenant"
"""The label `tenant` of `with labels(tenant=...)`, where metrics have it."""

STEP, MODEL, STATUS = as_label(names.STEP_NAME), as_label(names.MODEL), as_label(names.STATUS)
CERTAINTY, HOST = as_label(names.CERTAINTY), as_label(names.HOST)
COST, CALLS, BREACHES = _counter(names.METRIC_COST), _counter(names.METRIC_LLM_CALLS), _counter(names.METRIC_BREACHES)
INPUT, OUTPUT = _counter(names.METRIC_INPUT_TOKENS), _counter(names.METRIC_OUTPUT_TOKENS)
CACHE_READ, REASONING = _counter(names.METRIC_CACHE_READ), _counter(names.METRIC_REASONING)
UNPRICED, UNMETERED = _counter(names.METRIC_UNPRICED), _counter(names.METRIC_UNMETERED)
CALL_COST, ENDED_CALLS = _counter(names.METRIC_CALL_COST), _counter(names.METRIC_CALLS)
CACHE_SAVINGS, UNSEEN = _counter(names.METRIC_CACHE_SAVINGS), _counter(names.METRIC_UNSEEN)
RUN_COST, BUDGET_USED = as_label(names.METRIC_RUN_COST[0]), as_label(names.METRIC_BUDGET_USED[0])
DURATION = f"{as_label(names.METRIC_DURATION[0])}_seconds"
RUNS = f"{DURATION}_count"

# The metrics of runs, breaches and unseen calls know no model: a filter on it would empty their panels.
_KNOW_THE_MODEL = {
    COST, INPUT, OUTPUT, CACHE_READ, REASONING, UNPRICED, UNMETERED, CALL_COST, ENDED_CALLS, CACHE_SAVINGS,
}  # fmt: skip
_OF_NO_STEP = {UNSEEN}


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the Grafana dashboard: the values of `label`, as `metric` has them."""

    name: str
    title: str
    label: str
    metric: str


VARIABLES = (
    Variable("service", "Service", "job", RUNS),
    Variable("environment", "Environment", as_label(ENVIRONMENT), COST),
    Variable("tenant", "Tenant", as_label(TENANT), COST),
    Variable("step", "Step", STEP, RUNS),
    Variable("model", "Model", MODEL, COST),
)


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


@dataclass(frozen=True, slots=True)
class Language:
    """How a panel's query is written for a program.

    Attributes:
        interval: the window between two points of a line.
        minutes: the minutes of that window.
        range_s: the seconds of the time shown.
        range: the window of the time shown, for a query that is answered once. None: every query is a line, and a total
            is the sum of all points so far, so that the last point is the total.
        has_variables: whether the dashboard has the variables.
    """

    interval: str
    minutes: str
    range_s: str
    range: str | None
    has_variables: bool

    def total(self, metric: str, *conditions: str, by: Sequence[str] = ()) -> str:
        """What a counter grew in the time shown."""
        if self.range is None:
            return f"running_sum({self._grown(metric, self.interval, conditions, by)})"
        return self._grown(metric, self.range, conditions, by)

    def each(self, metric: str, *conditions: str, by: Sequence[str] = ()) -> str:
        """What a counter grew in each interval."""
        return self._grown(metric, self.interval, conditions, by)

    def quantile(self, quantile: float, histogram: str) -> str:
        """A quantile of what each step's runs had in an interval."""
        return f"histogram_quantile({quantile}, {self.each(f'{histogram}_bucket', by=('le', STEP))})"

    def _grown(self, metric: str, window: str, conditions: Sequence[str], by: Sequence[str]) -> str:
        grouping = f" by ({', '.join(by)}) " if by else ""
        filters = ",".join((*self._filters(metric), *conditions))
        return f"sum{grouping}({growth(f'{metric}{{{filters}}}' if filters else metric, window)})"

    def _filters(self, metric: str) -> list[str]:
        if not self.has_variables:
            return []
        left_out = set() if metric in _KNOW_THE_MODEL else {"model"}
        if metric in _OF_NO_STEP:
            left_out.add("step")
        return [f'{each.label}=~"${each.name}"' for each in VARIABLES if each.name not in left_out]


PROMQL = Language("$__interval", "$__interval_ms / 60000", "$__range_s", "$__range", has_variables=True)
"""What Grafana asks Prometheus. It puts its `$__` variables in when it runs a query."""
METRICSQL = Language("1i", "step() / 60", "(end() - start() + step())", None, has_variables=False)
"""What the page of VictoriaMetrics asks: lines only, and no variables. `1i` is one interval."""
