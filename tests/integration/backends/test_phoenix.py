"""Phoenix prices the call spans itself. Step spans next to them must not make it count anything twice."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")
pytest.importorskip("openai", reason="needs the group `demo`")

from tests.integration.backends.apps import App, spent
from tests.integration.backends.programs import Phoenix, fetch, wait_for

QUESTION = "{projects{edges{node{recordCount costSummary{total{cost tokens}}}}}}"


@pytest.mark.slow
def test_phoenix_shows_the_records_total_cost(phoenix_binary, start_collector, tmp_path, running):
    phoenix = running.enter_context(Phoenix(phoenix_binary, tmp_path / "phoenix"))
    collector = start_collector("local-jaeger", TRACES_ENDPOINT=phoenix.otlp)
    app = running.enter_context(App("many", "50", "1", endpoint=collector.grpc))
    records = app.report()["records"]
    assert spent(records) > 0

    def project():
        body = json.dumps({"query": QUESTION}).encode()
        answer = json.loads(fetch(f"{phoenix.url}/graphql", body, {"Content-Type": "application/json"}))
        node = answer["data"]["projects"]["edges"][0]["node"]
        whole = node["recordCount"] == len(records) + spent(records, "llm_calls")
        priced = node["costSummary"]["total"]["tokens"] == spent(records, "input_tokens") + spent(
            records, "output_tokens"
        )
        return node if whole and priced else None

    node = wait_for("all spans, priced, in Phoenix", project, within_s=120)
    assert node["costSummary"]["total"]["cost"] == pytest.approx(spent(records), abs=1e-7)
