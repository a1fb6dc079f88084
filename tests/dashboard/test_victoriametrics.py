"""The dashboard in the page of a real VictoriaMetrics, in a real browser, over metrics that a real app sent it.

Every query is asked as the page asks it, and held against the app's records; so are the numbers that the page shows.
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
pytest.importorskip("openai", reason="needs the group `demo`")

from otel_harn_steps import price
from otel_harn_steps._telemetry.metrics import _COST_BUCKETS_USD, _DURATION_BUCKETS_S, _SHARE_BUCKETS
from otel_harn_steps.dashboard import victoriametrics
from tests.integration.backends.apps import App
from tests.integration.backends.backend import GrpcBackend
from tests.integration.backends.binaries import REQUIRED, program
from tests.integration.backends.programs import VictoriaMetrics, fetch, wait_for
from tests.integration.backends.varied import MODELS, UNPRICED_MODEL

if not REQUIRED:
    pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect, sync_playwright

from tests.page.visits import FLAGS

pytestmark = pytest.mark.backends

RUNS, RANGE_S, STEP_S = 40, 600, 10
# On a busy machine.
DRAWN_WITHIN_MS = 60_000
TENANT = "acme"
PANELS = {panel["title"]: panel for panel in json.loads(victoriametrics.FILE.read_text())["rows"][0]["panels"]}


class Shown:
    """What VictoriaMetrics answers to the queries of the page, for the time up to `end`, and what the app's records say."""

    def __init__(self, server, records, end):
        self.server, self.records, self.end = server, records, end

    def _ask(self, query, step_s):
        start = self.end - RANGE_S + (step_s if step_s == RANGE_S else 0)
        asked = urllib.parse.urlencode({"query": query, "start": start, "end": self.end, "step": f"{step_s}s"})
        answer = json.loads(fetch(f"{self.server.url}/api/v1/query_range?{asked}"))
        assert answer["status"] == "success"
        return {
            tuple(each["metric"][name] for name in sorted(each["metric"])): [
                float(value) for _, value in each["values"]
            ]
            for each in answer["data"]["result"]
        }

    def last(self, title, index=0):
        """Where each line ends."""
        return {line: values[-1] for line, values in self._ask(PANELS[title]["expr"][index], STEP_S).items()}

    def points(self, title, index=0):
        """The points of each line."""
        return self._ask(PANELS[title]["expr"][index], STEP_S)

    def as_one(self, title, index=0):
        """Each line where the whole time is one interval."""
        return {line: values[-1] for line, values in self._ask(PANELS[title]["expr"][index], RANGE_S).items()}

    def total(self, field, by=None, only=lambda _: True):
        """The sum of a field of the records, by another one."""
        sums = Counter()
        for each in filter(only, self.records):
            sums[() if by is None else (each[by],)] += each[field]
        return dict(sums)

    @property
    def savings(self):
        """What the records' cached tokens cost less than other input, by the price book."""
        cached = Counter()
        for record in self.records:
            for each in record["by_model"]:
                cached[each["model"]] += each["cache_read_tokens"]
        return sum(
            float(
                price(model, provider="openai", input_tokens=cached[model])
                - price(model, provider="openai", input_tokens=cached[model], cache_read_tokens=cached[model])
            )
            for model in MODELS
        )


@pytest.fixture(scope="module")
def shown(victoriametrics_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("victoriametrics")
    dashboards = folder / "dashboards"
    dashboards.mkdir()
    (dashboards / victoriametrics.FILE.name).write_bytes(victoriametrics.FILE.read_bytes())
    with ExitStack() as stack:
        traces = stack.enter_context(GrpcBackend())
        server = stack.enter_context(VictoriaMetrics(victoriametrics_binary, folder, dashboards))
        app = stack.enter_context(
            App(
                "varied", str(RUNS), "7", "0", endpoint=traces.address, OTLP_METRICS="http",
                OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=server.otlp, OTEL_RESOURCE_ATTRIBUTES=f"tenant.id={TENANT}",
            )
        )  # fmt: skip
        records = app.report()["records"]
        assert len(records) == 3 * RUNS

        def all_there():
            counted = [
                json.loads(fetch(f"{server.url}/api/v1/query?query=sum({metric})"))["data"]["result"]
                for metric in ("harn_step_duration_seconds_count", "harn_unseen_calls_total")
            ]
            return [each and each[0]["value"][1] for each in counted] == [str(len(records)), "1"]

        wait_for("all steps in VictoriaMetrics", all_there)
        # The page's points are on whole steps.
        end = (math.floor(time.time() / STEP_S) + 1) * STEP_S
        wait_for("the end of the interval", lambda: time.time() > end + 1)
        yield Shown(server, records, end)


def dollars(expected):
    return pytest.approx(expected, abs=1e-9)


def is_wasted(record):
    return record["status"] != "completed"


def test_the_totals_of_dollars_are_the_ledgers(shown):
    (spent,) = shown.total("cost_usd").values()
    assert shown.last("Spend") == dollars({(): spent})
    assert shown.last("Projected spend per 30 days") == {
        (): pytest.approx(spent / (RANGE_S + STEP_S) * 30 * 86_400, rel=1e-9)
    }
    assert shown.last("Wasted spend") == dollars(shown.total("cost_usd", only=is_wasted))
    assert shown.last("Cache savings") == dollars({(): shown.savings})
    assert shown.savings > 0.01


def test_what_is_not_known_is_counted(shown):
    assert shown.last("Budget breaches") == {(): len([each for each in shown.records if each["breach"]])}
    assert shown.last("Calls without a price") == shown.total("unpriced_calls") == {(): RUNS // 10}
    assert shown.last("Calls without usage") == shown.total("unmetered_calls") == {(): RUNS // 10}
    assert shown.last("Unseen calls") == {(): 1}
    calls = sum(each["llm_calls"] for each in shown.records)
    assert shown.as_one("Estimates' share") == pytest.approx({("estimated",): RUNS // 10 / calls})


def test_the_lines_of_spend_add_up_to_each_steps_spend(shown):
    by_step = shown.total("cost_usd", by="name")
    spent = shown.points("Spend over time by step")
    assert {line: sum(values) for line, values in spent.items()} == dollars(by_step)
    live = shown.points("Live spend a minute")
    assert {line: sum(values) * STEP_S / 60 for line, values in live.items()} == dollars(by_step)


def test_spend_by_model_and_by_tenant(shown):
    by_model = Counter({(UNPRICED_MODEL,): 0.0})
    for record in shown.records:
        for each in record["by_model"]:
            by_model[(each["model"],)] += each["cost_usd"]
    assert shown.last("Spend by model") == dollars(dict(by_model))
    (spent,) = shown.total("cost_usd").values()
    assert shown.last("Spend by tenant") == dollars({(TENANT,): spent})
    # The label is on no metric here.
    assert shown.last("Spend by tenant", 1) == {}


def test_the_columns_of_the_steps(shown):
    runs = {(name,): count for name, count in Counter(each["name"] for each in shown.records).items()}
    spent, calls = shown.total("cost_usd", by="name"), shown.total("llm_calls", by="name")
    assert shown.last("Steps: USD") == dollars(spent)
    assert shown.last("Steps: Runs") == runs
    assert shown.last("Steps: USD per run") == dollars({step: spent[step] / runs[step] for step in runs})
    assert shown.last("Steps: Calls per run") == pytest.approx({step: calls[step] / runs[step] for step in runs})


@pytest.mark.parametrize(
    ("title", "index", "field"),
    [
        ("Tokens in and out", 0, "input_tokens"),
        ("Tokens in and out", 1, "output_tokens"),
        ("Cached and reasoning tokens", 0, "cache_read_tokens"),
        ("Cached and reasoning tokens", 1, "reasoning_tokens"),
    ],
)
def test_the_lines_of_tokens_add_up(title, index, field, shown):
    drawn = {line: sum(values) for line, values in shown.points(title, index).items()}
    assert drawn == shown.total(field)
    assert drawn[()] > 0


def test_outcomes_are_shares_of_a_steps_runs(shown):
    runs = Counter(each["name"] for each in shown.records)
    ended = Counter((each["name"], each["status"]) for each in filter(is_wasted, shown.records))
    assert shown.as_one("Outcomes that need a look") == pytest.approx(
        {(step, status): count / runs[step] for (step, status), count in ended.items()}
    )


def bucket(values, quantile, bounds):
    """The two bounds between which that quantile lies."""
    upper = sorted(values)[math.ceil(quantile * len(values)) - 1]
    index = next((index for index, bound in enumerate(bounds) if upper <= bound), len(bounds))
    return (0 if index == 0 else bounds[index - 1]), (bounds[index] if index < len(bounds) else bounds[-1])


def seconds(record):
    return (record["end_time"] - record["start_time"]) / 1e9


QUANTILES = {
    "cost p95": ("Cost of one run, p50 and p95", 0, 0.95, _COST_BUCKETS_USD, lambda record: record["cost_usd"]),
    "cost p50": ("Cost of one run, p50 and p95", 1, 0.5, _COST_BUCKETS_USD, lambda record: record["cost_usd"]),
    "duration p95": ("Duration of one run, p95", 0, 0.95, _DURATION_BUCKETS_S, seconds),
}


@pytest.mark.parametrize("name", QUANTILES)
def test_quantiles_are_in_the_right_bucket(name, shown):
    title, index, quantile, bounds, value = QUANTILES[name]
    drawn = shown.as_one(title, index)
    assert drawn.keys() == {("plan",), ("draft",), ("tag",)}
    for (step,), quantile_shown in drawn.items():
        values = [value(each) for each in shown.records if each["name"] == step]
        lowest, highest = bucket(values, quantile, bounds)
        assert lowest <= quantile_shown <= highest


def test_the_headroom_is_what_a_limit_leaves(shown):
    drawn = shown.as_one("Budget headroom")
    # `plan` has no budget.
    assert drawn.keys() == {("draft",), ("tag",)}
    used = [
        (each["input_tokens"] + each["output_tokens"]) / each["max_tokens"]
        for each in shown.records
        if each["name"] == "draft"
    ]
    lowest, highest = bucket(used, 0.95, _SHARE_BUCKETS)
    assert 1 - highest <= drawn[("draft",)] <= 1 - lowest


@pytest.fixture(scope="module")
def page(tool, shown):
    """The page of dashboards. It asks no other host for anything."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(tool, "chromium"), args=list(FLAGS))
        context = browser.new_context(viewport={"width": 1600, "height": 1000}, timezone_id="UTC")
        expect.set_options(timeout=DRAWN_WITHIN_MS)
        page, asked, errors = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(shown.server.dashboards(shown.end, RANGE_S, STEP_S))
        yield page
        assert [url for url in asked if not url.startswith((shown.server.url, "data:"))] == []
        assert errors == []
        browser.close()


def panel(page, title):
    """A panel, in sight: the page draws no other."""
    found = page.locator(".vm-predefined-panel", has=page.get_by_role("heading", name=title, exact=True))
    found.scroll_into_view_if_needed()
    return found


def last_shown(page, title):
    """The numbers that the legend of a panel shows for where its lines end, by their names. Of four digits."""
    found = panel(page, title)
    names = found.locator(".vm-legend-item-info__label")
    numbers = found.locator(".vm-legend-item-stats-row:has-text('last:') .vm-legend-item-stats-row__value")
    expect(names.first).to_be_visible()
    shown = zip(names.all_inner_texts(), numbers.all_inner_texts(), strict=True)
    return {name: float(number.replace(",", "")) for name, number in shown}


def test_the_page_shows_every_panel_drawn_and_no_error(page):
    for title in PANELS:
        # It draws on a canvas.
        expect(panel(page, title).locator("canvas").first).to_be_visible()
    expect(page.locator(".vm-predefined-panel .vm-alert_error")).to_have_count(0)


def test_the_page_shows_the_ledgers_numbers(page, shown):
    (spent,) = shown.total("cost_usd").values()
    (wasted,) = shown.total("cost_usd", only=is_wasted).values()
    four_digits = {"rel": 1e-3}
    assert last_shown(page, "Spend") == pytest.approx({"Spend": spent}, **four_digits)
    assert last_shown(page, "Wasted spend") == pytest.approx({"Wasted spend": wasted}, **four_digits)
    assert last_shown(page, "Cache savings") == pytest.approx({"Cache savings": shown.savings}, **four_digits)
    assert last_shown(page, "Unseen calls") == {"Unseen calls": 1}
    by_step = {step: value for (step,), value in shown.total("cost_usd", by="name").items()}
    assert last_shown(page, "Steps: USD") == pytest.approx(by_step, **four_digits)
    assert last_shown(page, "Steps: Runs") == dict.fromkeys(by_step, RUNS)
    assert last_shown(page, "Spend by tenant") == pytest.approx({TENANT: spent}, **four_digits)
