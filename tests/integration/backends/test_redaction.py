"""No prompt or completion passes, whichever instrumentation sent it."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs opentelemetry-exporter-otlp")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_harn_steps.cli import _programs
from tests.integration.backends import content
from tests.integration.backends.backend import GrpcBackend, HttpBackend, values
from tests.integration.backends.programs import CONFIGS, wait_for
from tests.integration.backends.spans import Maker, Step, send


def post(collector, signal, request):
    """Send a hand-made request over OTLP/HTTP."""
    request = urllib.request.Request(
        f"{collector.http}/v1/{signal}", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        assert response.status == 200


@pytest.fixture
def backend(running):
    return running.enter_context(GrpcBackend())


@pytest.fixture
def start_faulty(collector_binary, tmp_path, running):
    """Start a Collector with a configuration in which the first statement of that group fails on a span that has `faulty`."""

    def start(name, *, otherwise=(), **settings):
        text = (CONFIGS / f"{name}.yaml").read_text()
        first = "      - context: span\n        statements:\n"
        fails = (
            '- set(span.attributes["x"], ParseJSON(span.attributes["faulty"])) where span.attributes["faulty"] != nil'
        )
        text = text.replace(first, f"{first}          {fails}\n", 1)
        assert fails in text
        for ours, other in otherwise:
            assert ours in text
            text = text.replace(ours, other)
        (tmp_path / f"{name}.yaml").write_text(text)
        return running.enter_context(
            _programs.Collector(collector_binary, tmp_path / f"{name}.yaml", tmp_path / name, **settings)
        )

    return start


IGNORING = [("error_mode: propagate", "error_mode: ignore")]


def faulty(words):
    """A span on which that statement fails."""
    request = content.spans(words, unheard_of=False)
    spans = request.resource_spans[0].scope_spans[0].spans
    del spans[1:]
    spans[0].attributes.add(key="faulty").value.string_value = "{no JSON"
    return request


def refused(collector, request):
    """The HTTP status of the refusal; None where the request was taken."""
    try:
        post(collector, "traces", request)
    except urllib.error.HTTPError as error:
        return error.code
    return None


def test_a_span_on_which_a_statement_fails_is_refused_and_what_comes_after_it_passes(backend, start_faulty):
    collector = start_faulty("redaction", TRACES_ENDPOINT=backend.address)
    words = content.Words()
    assert refused(collector, faulty(words)) == 503
    maker = Maker()
    maker.trace(Step("draft", 0.01, 1, 1))
    assert send(maker.take(), http=collector.http)
    wait_for("the good spans", lambda: len(backend.spans()) == 2)
    collector.stop()
    assert {span.name for span in backend.spans()} == {"step draft", "chat gpt-4o-mini"}
    assert b"faulty" not in backend.bytes()
    assert words.found_in(backend.bytes()) == []
    assert words.found_in(collector.log_text().encode()) == []


def test_it_is_error_mode_that_refuses_it(backend, start_faulty):
    collector = start_faulty("redaction", otherwise=IGNORING, TRACES_ENDPOINT=backend.address)
    assert refused(collector, faulty(content.Words())) is None
    wait_for("the span", backend.spans)


def test_honeycomb_gets_no_span_on_which_a_statement_fails(start_faulty, running):
    honeycomb = running.enter_context(HttpBackend())
    settings = {"HONEYCOMB_ENDPOINT": honeycomb.url, "HONEYCOMB_API_KEY": "k", "BATCH_TIMEOUT": "200ms"}
    collector = start_faulty("honeycomb", **settings)
    words = content.Words()
    assert refused(collector, faulty(words)) == 503
    collector.stop()
    assert honeycomb.received == []
    assert words.found_in(collector.log_text().encode()) == []


def test_nothing_of_the_corpus_is_in_the_bytes_that_arrive(backend, start_collector):
    collector = start_collector("redaction", TRACES_ENDPOINT=backend.address)
    words = content.Words()
    spans, logs = content.spans(words, unheard_of=True), content.logs(words)
    assert len(words.found_in(spans.SerializeToString() + logs.SerializeToString())) == len(words.places) > 250
    post(collector, "traces", spans)
    post(collector, "logs", logs)

    expected = len(spans.resource_spans[0].scope_spans[0].spans)
    wait_for("the spans", lambda: len(backend.spans()) == expected)
    wait_for("the logs", lambda: any(each.path.endswith("LogsService/Export") for each in backend.received))
    assert words.found_in(backend.bytes()) == []
    assert words.found_in(collector.log_text().encode()) == []


def test_what_dashboards_need_stays(backend, start_collector):
    collector = start_collector("redaction", TRACES_ENDPOINT=backend.address)
    words = content.Words()
    spans = content.spans(words, unheard_of=True)
    post(collector, "traces", spans)
    post(collector, "logs", content.logs(words))
    maker = Maker({"tenant.id": "acme"})
    step = Step("draft", 0.062501, 1234, 56, status="failed", exceeded=True)
    maker.trace(step)
    assert send(maker.take(), grpc=collector.grpc)

    wait_for("all spans", lambda: len(backend.spans()) == len(spans.resource_spans[0].scope_spans[0].spans) + 2)
    logs = wait_for("the logs", lambda: [each for each in backend.received if each.path.endswith("LogsService/Export")])
    (draft,) = [span for span in backend.spans() if span.name == "step draft"]
    assert values(draft.attributes) == step.attributes()
    assert draft.status.message == "step `draft` exceeded max_usd budget ($0.060000 > $0.050000)"
    for span in backend.spans():
        if span.name == "chat gpt-4o-mini" and span.trace_id == bytes([1]) * 16:
            assert values(span.attributes).items() >= {**content.STAYS, **content.NUMBERS}.items()
    events = {event.name for span in backend.spans() for event in span.events}
    assert events == {"exception", "gen_ai.client.inference.operation.details"}
    assert {resource.get("tenant.id") for resource, _ in backend.spans_with_resource()} == {"acme", None}
    records = [
        one
        for each in logs
        for group in ExportLogsServiceRequest.FromString(each.body).resource_logs
        for one in group.scope_logs[0].log_records
    ]
    assert [values(one.attributes) for one in records if one.event_name == "harn.step.completed"] == [
        {"harn.step.name": "draft", "harn.step.cost_usd": 0.0625, "redaction.redacted.count": 1}
    ]


@pytest.mark.parametrize(
    "secret",
    [
        "ada.lovelace@example.org", "4111 1111 1111 1111", "sk-proj-abcdefghijklmnop1234", "hcaik_01abcdefghijklmnopqrstuvwx", "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)  # fmt: skip
def test_a_secret_in_an_attribute_that_stays_is_masked(secret, backend, start_collector):
    collector = start_collector("redaction", TRACES_ENDPOINT=backend.address)
    maker = Maker()
    maker.trace(Step(f"mail {secret}", 0.01, 1, 1))
    spans = [span for span in maker.take() if span.name.startswith("step")]
    assert send(spans, grpc=collector.grpc)
    (span,) = wait_for("the step", backend.spans)
    attributes = values(span.attributes)
    assert (span.name, attributes["harn.step.name"]) == ("step mail ****", "mail ****")
    assert attributes["harn.step.cost_usd"] == 0.01
    assert attributes["redaction.masked.count"] == 3  # its name, its function and its path


def test_honeycomb_gets_no_content_either(start_collector, running):
    honeycomb = running.enter_context(HttpBackend())
    collector = start_collector(
        "honeycomb", HONEYCOMB_ENDPOINT=honeycomb.url, HONEYCOMB_API_KEY="k", BATCH_TIMEOUT="200ms"
    )
    words = content.Words()
    spans = content.spans(words, unheard_of=False)
    post(collector, "traces", spans)
    expected = len(spans.resource_spans[0].scope_spans[0].spans)
    wait_for("the spans", lambda: len(honeycomb.spans()) == expected)
    assert words.found_in(honeycomb.bytes()) == []
