"""Every query of the dashboard, on a real Prometheus that scraped real apps and a real Collector while they worked.

The same spend reaches it in three ways: from the apps' own metrics pages, from their metrics over OTLP through the
Collector, and from their spans through the Collector. All are held against the records.
"""

from __future__ import annotations

import json
import math
import time
import urllib.parse
from collections import Counter
from contextlib import ExitStack

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")
pytest.importorskip("opentelemetry.exporter.prometheus", reason="needs opentelemetry-exporter-prometheus")
pytest.importorskip("openai", reason="needs the group `demo`")

from otel_harn_steps._telemetry.metrics import _COST_BUCKETS_USD, _DURATION_BUCKETS_S, _SHARE_BUCKETS
from otel_harn_steps.dashboard import grafana
from otel_harn_steps.dashboard._languages import MODEL, STATUS, STEP, TENANT, VARIABLES
from otel_harn_steps.dashboard._panels import PANELS
from tests.integration.backends.apps import App
from tests.integration.backends.backend import GrpcBackend
from tests.integration.backends.programs import Collector, Prometheus, fetch, free_port, wait_for

pytestmark = pytest.mark.backends

RANGE_S, INTERVAL_S = 600, 10
MICRO = 1e-6
TENANTS = ("acme", "globex")
SOURCES = ("the app's page", "the app through the Collector", "spans through the Collector")


class Dashboard:
    """The panels, as Grafana would ask them of `prometheus` for one source of the metrics."""

    def __init__(self, prometheus, services, records, end):
        self._prometheus, self._services, self.end = prometheus, services, end
        self.records = records

    def _filled(self, promql, source, interval_s, chosen):
        for name, value in (
            ("$__range_s", RANGE_S),
            ("$__range", f"{RANGE_S}s"),
            ("$__interval_ms", interval_s * 1000),
            ("$__interval", f"{interval_s}s"),
            ('=~"$service"', self._services[source]),
            *((f"${each.name}", chosen.get(each.name, ".*")) for each in VARIABLES),
        ):
            promql = promql.replace(name, str(value))
        assert "$" not in promql
        return promql

    def _ask(self, path, **parameters):
        answer = json.loads(fetch(f"{self._prometheus.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success"
        return answer["data"]["result"]

    def now(self, title, source, index=0, **chosen):
        """A query's answer for the whole range, by its labels."""
        promql = self._filled(series_of(title)[index].promql, source, RANGE_S, chosen)
        return {labels(each): float(each["value"][1]) for each in self._ask("query", query=promql, time=self.end)}

    def drawn(self, title, source, index=0):
        """The points that are drawn over the range, by the labels of their line."""
        promql = self._filled(series_of(title)[index].promql, source, INTERVAL_S, {})
        answer = self._ask("query_range", query=promql, start=self.end - RANGE_S, end=self.end, step=INTERVAL_S)
        return {labels(each): [float(value) for _, value in each["values"]] for each in answer}


def labels(answer):
    return tuple(answer["metric"][name] for name in sorted(answer["metric"]))


def series_of(title):
    (panel,) = [panel for panel in PANELS if panel.title == title]
    return panel.series


@pytest.fixture(scope="module")
def dashboard(collector_binary, prometheus_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    with ExitStack() as stack:
        traces = stack.enter_context(GrpcBackend())
        of_spans, of_metrics = (
            stack.enter_context(
                Collector(
                    collector_binary, "step-metrics", folder / source,
                    TRACES_ENDPOINT=traces.address, BATCH_TIMEOUT="200ms", STEP_METRICS_FROM=source,
                )
            )
            for source in ("spans", "app")
        )  # fmt: skip
        ports = [free_port() for _ in range(3)]
        pages = [f"127.0.0.1:{port}" for port in ports]
        otlp_page = of_metrics.metrics_url.split("/")[2]
        prometheus = stack.enter_context(
            Prometheus(
                prometheus_binary, folder / "prometheus", of_spans.metrics_url.split("/")[2], [*pages, otlp_page]
            )
        )
        services = {
            SOURCES[0]: f'="apps",instance!="{otlp_page}"',
            SOURCES[1]: f'="apps",instance="{otlp_page}"',
            SOURCES[2]: '="agent"',
        }
        apps = [
            stack.enter_context(
                App(
                    "many", "200", str(seed), endpoint=of_spans.grpc,
                    PROMETHEUS_PORT=str(port), OTLP_METRICS="1",
                    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"http://{of_metrics.grpc}",
                    OTEL_RESOURCE_ATTRIBUTES=f"tenant.id={TENANTS[seed % 2]},deployment.environment.name=test",
                )
            )
            for seed, port in enumerate(ports)
        ]  # fmt: skip
        records = [
            {**record, "tenant": TENANTS[seed % 2]}
            for seed, app in enumerate(apps)
            for record in app.report()["records"]
        ]
        assert len(records) == 1200
        board = Dashboard(prometheus, services, records, None)

        def all_there():
            runs = [f"sum(harn_step_duration_seconds_count{{job{each}}})" for each in services.values()]
            counted = [board._ask("query", query=query) for query in runs]
            return all(each and float(each[0]["value"][1]) == len(records) for each in counted)

        wait_for("all steps in Prometheus, three times", all_there)
        # On a whole interval, as Grafana aligns it, and behind the last scrape.
        board.end = (math.floor(time.time() / INTERVAL_S) + 1) * INTERVAL_S
        wait_for("the end of the interval", lambda: time.time() > board.end + 1)
        yield board


sources = pytest.mark.parametrize("source", SOURCES)


def total(records, field="cost_usd", by=None):
    """The sum of a field, by another one."""
    sums = Counter()
    for each in records:
        sums[() if by is None else (each[by],)] += each[field]
    return dict(sums)


def dollars(expected):
    return pytest.approx(expected, abs=MICRO / 10)


def unfinished(records):
    return [each for each in records if each["status"] != "completed"]


@sources
def test_spend(dashboard, source):
    assert dashboard.now("Spend", source) == dollars(total(dashboard.records))


@sources
def test_projected_spend(dashboard, source):
    (spent,) = total(dashboard.records).values()
    projected = dashboard.now("Projected spend per 30 days", source)
    assert projected == {(): pytest.approx(spent / RANGE_S * 30 * 86_400, rel=1e-9)}


@sources
def test_wasted_spend(dashboard, source):
    assert dashboard.now("Wasted spend", source) == dollars(total(unfinished(dashboard.records)))


@sources
def test_breaches(dashboard, source):
    assert dashboard.now("Budget breaches", source) == {(): len(unfinished(dashboard.records))} == {(): 240}


@sources
def test_the_bars_of_spend_over_time_add_up_to_each_steps_spend(dashboard, source):
    bars = dashboard.drawn("Spend over time by step", source)
    assert {step: sum(values) for step, values in bars.items()} == dollars(total(dashboard.records, by="name"))
    assert all(value >= 0 for values in bars.values() for value in values)


@sources
def test_spend_by_model(dashboard, source):
    assert dashboard.now("Spend by model", source) == dollars(total(dashboard.records, by="model"))


@sources
def test_the_table_of_steps(dashboard, source):
    records = dashboard.records
    runs = {(name,): count for name, count in Counter(each["name"] for each in records).items()}
    spent, calls = total(records, by="name"), total(records, "llm_calls", by="name")
    columns = {each.legend: dashboard.now("Steps", source, index) for index, each in enumerate(series_of("Steps"))}
    assert columns == {
        "USD": dollars(spent),
        "Runs": runs,
        "USD per run": dollars({step: spent[step] / runs[step] for step in runs}),
        "Calls per run": {step: calls[step] / runs[step] for step in runs},
    }


def bucket(values, quantile, bounds):
    """The two bounds between which that quantile lies."""
    upper = sorted(values)[math.ceil(quantile * len(values)) - 1]
    index = next((index for index, bound in enumerate(bounds) if upper <= bound), len(bounds))
    return (0 if index == 0 else bounds[index - 1]), (bounds[index] if index < len(bounds) else bounds[-1])


@sources
@pytest.mark.parametrize(("index", "quantile"), [(0, 0.95), (1, 0.5)], ids=["p95", "p50"])
def test_the_cost_of_one_run_is_in_the_right_bucket(index, quantile, dashboard, source):
    shown = dashboard.now("Cost of one run, p50 and p95", source, index)
    assert shown.keys() == {("plan",), ("draft",)}
    for (step,), value in shown.items():
        lowest, highest = bucket(
            [each["cost_usd"] for each in dashboard.records if each["name"] == step], quantile, _COST_BUCKETS_USD
        )
        assert lowest <= value <= highest


@sources
@pytest.mark.parametrize(("index", "field"), [(0, "input_tokens"), (1, "output_tokens")])
def test_the_bars_of_tokens_add_up(index, field, dashboard, source):
    bars = dashboard.drawn("Tokens in and out", source, index)
    assert {line: sum(values) for line, values in bars.items()} == total(dashboard.records, field)


@sources
def test_outcomes_are_shares_of_a_steps_runs(dashboard, source):
    runs = Counter(each["name"] for each in dashboard.records)
    ended = Counter((each["name"], each["status"]) for each in unfinished(dashboard.records))
    # The labels of a line, in the order of their names.
    assert STATUS > STEP
    assert dashboard.now("Outcomes that need a look", source) == pytest.approx(
        {(step, status): count / runs[step] for (step, status), count in ended.items()}
    )


@sources
def test_the_duration_is_in_the_right_bucket(dashboard, source):
    shown = dashboard.now("Duration of one run, p95", source)
    assert shown.keys() == {("plan",), ("draft",)}
    for (step,), value in shown.items():
        durations = [
            (each["end_time"] - each["start_time"]) / 1e9 for each in dashboard.records if each["name"] == step
        ]
        lowest, highest = bucket(durations, 0.95, _DURATION_BUCKETS_S)
        assert lowest <= value <= highest


@sources
def test_spend_by_tenant(dashboard, source):
    # A page that is scraped directly has resource attributes on `target_info` only.
    by = None if source == SOURCES[0] else "tenant"
    assert dashboard.now("Spend by tenant", source) == dollars(total(dashboard.records, by=by))


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("step", "draft", "name"),
        ("model", "gpt-4o", "model"),
        ("tenant", "acme", "tenant"),
        ("environment", "test", None),
    ],
)
def test_a_choice_filters(variable, value, field, dashboard, source):
    chosen = [each for each in dashboard.records if field is None or each[field] == value]
    assert dashboard.now("Spend", source, **{variable: value}) == dollars(total(chosen))


def test_every_choice_has_the_values_that_are_there(dashboard):
    for variable in grafana.dashboard()["templating"]["list"][2:]:
        metric, label = variable["query"].removeprefix("label_values(").rstrip(")").split(", ")
        answer = dashboard._prometheus.url + f"/api/v1/label/{label}/values?match[]={metric}"
        found = json.loads(fetch(answer))["data"]
        wanted = {"job": "agent", STEP: "plan", MODEL: "gpt-4o", TENANT.replace(".", "_"): "acme"}.get(label, "test")
        assert wanted in found


@pytest.mark.parametrize("source", SOURCES[:2])
def test_the_lines_of_live_spend_add_up_to_each_steps_spend(dashboard, source):
    lines = dashboard.drawn("Live spend a minute", source)
    spent = {step: sum(values) * INTERVAL_S / 60 for step, values in lines.items()}
    assert spent == dollars(total(dashboard.records, by="name"))


@pytest.mark.parametrize("source", SOURCES[:2])
def test_the_headroom_is_what_a_limit_leaves(dashboard, source):
    # Each draft with a limit of one token used more than all buckets of shares know: it shows the last of them.
    assert dashboard.now("Budget headroom", source) == {("draft",): 1 - _SHARE_BUCKETS[-1]}


# This work reads from no cache, estimates nothing, and has no labels (test_victoriametrics.py has the first two). Spans
# make no metrics of calls.
OF_OTHER_WORK = {
    ("Cached and reasoning tokens", 0),
    ("Cached and reasoning tokens", 1),
    ("Estimates' share", 0),
    ("Spend by tenant", 1),
}
NOT_OF_SPANS = {("Live spend a minute", 0), ("Budget headroom", 0)}


def test_every_query_of_every_panel_was_asked(dashboard):
    for source in SOURCES:
        without = OF_OTHER_WORK | (NOT_OF_SPANS if source == SOURCES[2] else set())
        for panel in PANELS:
            for index, _ in enumerate(panel.series):
                has_answers = (panel.title, index) not in without
                assert bool(dashboard.now(panel.title, source, index)) == has_answers
                assert bool(dashboard.drawn(panel.title, source, index)) == has_answers
