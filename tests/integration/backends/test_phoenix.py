"""Phoenix prices the call spans itself. Step spans next to them must not make it count anything twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from contextlib import closing

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")
pytest.importorskip("openai", reason="needs the group `demo`")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps as harn
from otel_harn_steps import step
from otel_harn_steps.testing._modes import SYNC
from tests.instrumented import instrumented
from tests.integration.backends.apps import App, spent
from tests.integration.backends.programs import ROOT, Phoenix, fetch, wait_for
from tests.replay.answers import recorded
from tests.replay.cases import cases
from tests.replay.native import call, client_for, native_cases
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of

QUESTION = "{projects{edges{node{name recordCount costSummary{total{cost tokens}}}}}}"
A_CENT = 0.01
UNKNOWN_TO_PHOENIX = "deepseek-reasoner"
# It says itself what it charges, and Phoenix can only multiply.
REPORTS_DOLLARS = frozenset({"openrouter"})


def projects(phoenix):
    """What Phoenix shows of each project, by its name."""
    body = json.dumps({"query": QUESTION}).encode()
    answer = json.loads(fetch(f"{phoenix.url}/graphql", body, {"Content-Type": "application/json"}))
    return {each["node"]["name"]: each["node"] for each in answer["data"]["projects"]["edges"]}


@pytest.mark.slow
def test_phoenix_shows_the_records_total_cost(phoenix_binary, start_collector, tmp_path, running):
    phoenix = running.enter_context(Phoenix(phoenix_binary, tmp_path / "phoenix"))
    collector = start_collector("local-jaeger", TRACES_ENDPOINT=phoenix.otlp)
    app = running.enter_context(App("many", "50", "1", endpoint=collector.grpc))
    records = app.report()["records"]
    assert spent(records) > 0

    def project():
        node = projects(phoenix)["default"]
        whole = node["recordCount"] == len(records) + spent(records, "llm_calls")
        priced = node["costSummary"]["total"]["tokens"] == spent(records, "input_tokens") + spent(
            records, "output_tokens"
        )
        return node if whole and priced else None

    node = wait_for("all spans, priced, in Phoenix", project, within_s=120)
    assert node["costSummary"]["total"]["cost"] == pytest.approx(spent(records), abs=1e-7)


async def replayed(chosen, clients, replay):
    """Make the recorded call in a step, as far as the recorded answer lets it."""
    try:
        with step("s"):
            if chosen in native_cases():
                exchange = replay.serve(recorded(chosen))
                with client_for(chosen, SYNC, f"{replay.address}/{exchange.token}") as client:
                    answer = call(client, chosen, SYNC)
                    for _ in answer if chosen.stream else ():
                        pass
            else:
                await travel(Trip(chosen, ways_of(chosen)[0]), clients, replay)
    except Exception as error:  # noqa: BLE001 -- some providers refused, and were recorded as well
        return error
    return None


async def ledger_by_provider(clients, replay):
    """The spans of each provider's recorded calls, and what the ledger says that they cost."""
    found = defaultdict(list)
    dollars = defaultdict(float)
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    with instrumented(tracer_provider=tracers, emit=["phoenix"], call_spans=True):
        for chosen in [*cases(client="openai"), *cases(client="anthropic"), *native_cases()]:
            exporter.clear()
            await replayed(chosen, clients, replay)
            spans = exporter.get_finished_spans()
            provider = next((each.attributes.get("gen_ai.provider.name") for each in spans), None)
            if provider is not None:
                found[provider] += spans
                dollars[provider] += sum(each.cost_usd for each in harn.drain_completed_steps())
    return found, dollars


def sent(phoenix, project, spans):
    """Send spans to a project of Phoenix."""
    resource = Resource({"openinference.project.name": project})
    for each in spans:
        each._resource = resource
    exporter = OTLPSpanExporter(f"{phoenix.url}/v1/traces")
    exporter.export(spans)
    exporter.shutdown()


class Probes:
    """Spans of a model that Phoenix has no price of by itself. It looks for new prices now and then."""

    def __init__(self, phoenix, model):
        self._phoenix, self._model = phoenix, model
        self._tracers = TracerProvider(resource=Resource({"openinference.project.name": "probe"}))
        self._tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{phoenix.url}/v1/traces")))

    def are_priced(self):
        attributes = {
            "gen_ai.operation.name": "chat",
            "llm.model_name": self._model,
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 1000,
        }
        self._tracers.get_tracer("probe").start_span("chat", attributes=attributes).end()
        return projects(self._phoenix).get("probe", {}).get("costSummary", {}).get("total", {}).get("cost")

    def close(self):
        self._tracers.shutdown()


def give_prices(phoenix, models):
    """As a user does it."""
    command = [sys.executable, str(ROOT / "examples" / "phoenix_prices.py"), phoenix.url, *models]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # answers that were cut when recorded
async def test_phoenix_shows_the_ledgers_total_within_a_cent_for_every_recorded_provider(
    phoenix_binary, tmp_path, running, sync_clients, replay
):
    phoenix = running.enter_context(Phoenix(phoenix_binary, tmp_path / "phoenix"))
    found, dollars = await ledger_by_provider(sync_clients, replay)
    assert len(found) > 10
    models = {
        each.attributes["llm.model_name"]: provider
        for provider, spans in found.items()
        for each in spans
        if "llm.model_name" in each.attributes
    }
    # Last, the one that is waited for.
    ordered = sorted(models.items(), key=lambda each: each[0] == UNKNOWN_TO_PHOENIX)
    give_prices(phoenix, [f"{provider}:{model}" for model, provider in ordered])
    probes = running.enter_context(closing(Probes(phoenix, UNKNOWN_TO_PHOENIX)))

    wait_for("the prices in Phoenix", probes.are_priced, within_s=60)
    for provider, spans in found.items():
        sent(phoenix, provider, spans)

    def all_there():
        seen = projects(phoenix)
        return seen if all(seen.get(each, {}).get("recordCount") == len(found[each]) for each in found) else None

    seen = wait_for("all spans in Phoenix", all_there, within_s=120)
    shown = {each: seen[each]["costSummary"]["total"]["cost"] or 0 for each in found}
    off = {each: (shown[each], dollars[each]) for each in found if abs(shown[each] - dollars[each]) >= A_CENT}
    assert off.keys() <= REPORTS_DOLLARS, off
