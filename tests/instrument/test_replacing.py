"""A second `instrument()` replaces the first whole, and `uninstrument()` takes everything out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import otel_harn_steps
from otel_harn_steps import JsonLinesSink, StepSpanProcessor, drain_completed_steps, record_llm_usage, step
from otel_harn_steps._instrument.options import OPTIONS
from otel_harn_steps.providers import ClientAdapter, Seam
from tests.instrumented import Spans


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()


def run_a_step(**options: Any) -> Any:
    """The record of a step that has spent a million tokens."""
    with step("s"):
        record_llm_usage(model="my-model", input_tokens=1_000_000, output_tokens=0)
    (record,) = drain_completed_steps()
    return record


def test_replaced_sinks_receive_no_more(spans: Spans) -> None:
    first: list[Any] = []
    second: list[Any] = []
    otel_harn_steps.instrument(tracer_provider=spans.provider, sinks=[first.append])
    otel_harn_steps.instrument(tracer_provider=spans.provider, sinks=[second.append])
    run_a_step()
    assert (len(first), len(second)) == (0, 1)


def test_sinks_receive_no_more_after_uninstrument(spans: Spans) -> None:
    seen: list[Any] = []
    otel_harn_steps.instrument(tracer_provider=spans.provider, sinks=[seen.append])
    otel_harn_steps.uninstrument()
    run_a_step()
    assert seen == []


def test_three_calls_write_one_line_for_a_step(spans: Spans, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    for _ in range(3):
        otel_harn_steps.instrument(tracer_provider=spans.provider, sinks=[JsonLinesSink(file)])
    run_a_step()
    assert len(file.read_text().splitlines()) == 1


def test_a_processor_of_the_apps_own_that_was_shut_down_receives_no_more(spans: Spans) -> None:
    seen: list[Any] = []
    processor = StepSpanProcessor(seen.append)
    spans.provider.add_span_processor(processor)
    otel_harn_steps.instrument(tracer_provider=spans.provider)
    processor.shutdown()
    run_a_step()
    assert seen == []


def test_the_tracer_provider_is_left_as_it_was() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    before = provider._active_span_processor._span_processors
    for _ in range(3):
        otel_harn_steps.instrument(tracer_provider=provider)
    otel_harn_steps.uninstrument()
    assert provider._active_span_processor._span_processors == before


def test_what_the_second_call_leaves_out_has_its_default(spans: Spans) -> None:
    reader = InMemoryMetricReader()
    otel_harn_steps.instrument(
        prices={"my-model": {"input_mtok": 2}},
        metrics=False,
        redact_errors=True,
        meter_provider=MeterProvider([reader]),
        tracer_provider=spans.provider,
    )
    assert run_a_step().cost_usd == 2
    otel_harn_steps.instrument(meter_provider=MeterProvider([reader2 := InMemoryMetricReader()]))
    with pytest.raises(LookupError), step("t"):
        raise LookupError("no such page")
    (failed,) = drain_completed_steps()
    assert (run_a_step().unpriced_calls, failed.error) == (1, "no such page")
    assert (reader.get_metrics_data(), reader2.get_metrics_data() is None) == (None, False)
    assert len(spans.finished("step")) == 1


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"sinks": [JsonLinesSink]},
        r"sinks must hold callables, not the class .*; did you mean JsonLinesSink\(\.\.\.\)\?",
    ),
    (
        {"sinks": ["records.jsonl"]},
        "sinks must hold callables that take a CompletedStep, or objects with call_sent .*, not 'records.jsonl'",
    ),
    ({"sinks": print}, "sinks must be a list of callables"),
    ({"metrics": "no"}, "metrics must be True or False, not 'no'"),
    ({"redact_errors": "false"}, "redact_errors must be True or False, not 'false'"),
    ({"stream_usage": None}, "stream_usage must be True or False, not None"),
    ({"threads": 1}, "threads must be True or False, not 1"),
    ({"unseen_calls": "auto"}, "unseen_calls must be True or False, not 'auto'"),
    ({"call_spans": "never"}, "call_spans must be 'auto', True or False, not 'never'"),
    ({"prices": {"m": {}}}, r"prices\['m'\] must have at least one rate, such as .*, not \{\}"),
    ({"prices": ["m"]}, "prices must be a mapping such as .*, not \\['m'\\]"),
    ({"prices": {1: {"input_mtok": 1}}}, "prices must have models as keys, .*, not 1"),
    ({"unpriced": {}}, "unpriced must have at least one rate"),
    (
        {"unpriced": "ignored"},
        "unpriced must be 'estimate', 'ignore', 'refuse' or a mapping of rates, not 'ignored'; did you mean 'ignore'",
    ),
    ({"unpriced": "warn"}, "unpriced must be .*, not 'warn'; 'warn' is 'ignore' now"),
    ({"unpriced": "raise"}, "unpriced must be .*, not 'raise'; 'raise' is 'refuse' now"),
    ({"unpriced": 0}, "unpriced must be .*, not 0"),
    ({"unpriced": ["ignore"]}, r"unpriced must be .*, not \['ignore'\]"),
    (
        {"unmetered": "raise"},
        "unmetered must be 'estimate', 'ignore' or 'refuse', not 'raise'; 'raise' is 'refuse' now",
    ),
    ({"unmetered": {"input_mtok": 1}}, "unmetered must be 'estimate', 'ignore' or 'refuse', not {'input_mtok': 1}"),
    ({"models": {"m": ""}}, "models must map names to names of models, not 'm' to ''"),
    ({"metric": False}, r"instrument\(\) has no argument 'metric'; did you mean 'metrics'\?"),
    ({"providers": ["acme"]}, "str.name must be the client library's name, .*, not None"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda each: str(each)[:40])
def test_a_bad_argument_raises_and_leaves_the_earlier_instrumentation_as_it_was(
    options: dict[str, Any], message: str
) -> None:
    seen: list[Any] = []
    otel_harn_steps.instrument(prices={"my-model": {"input_mtok": 2}}, sinks=[seen.append])
    with pytest.raises((TypeError, ValueError), match=message):
        otel_harn_steps.instrument(**options)
    assert (run_a_step().cost_usd, len(seen)) == (2, 1)


class Acme(ClientAdapter):
    name = "acme"


class Nameless(ClientAdapter):
    seams = (Seam("acme", "ask", "call"),)


class Seamless(ClientAdapter):
    name = "acme"
    seams = ("acme.ask",)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (Acme(), "Acme.seams must be a sequence of Seam with at least one: the functions that are patched, not None"),
        (Nameless(), "Nameless.name must be the client library's name, as in `import NAME`, not None"),
        (Seamless(), "Seamless.seams must hold instances of Seam, not 'acme.ask'"),
    ],
    ids=["no seams", "no name", "other seams"],
)
def test_an_adapter_that_is_not_complete_is_refused_before_anything_is_patched(adapter: Any, message: str) -> None:
    otel_harn_steps.instrument(redact_errors=True)
    with pytest.raises(TypeError, match=message):
        otel_harn_steps.instrument(providers=[adapter])
    with pytest.raises(LookupError), step("s"):
        raise LookupError("no such page")
    (record,) = drain_completed_steps()
    assert record.error == "LookupError"


def test_the_signature_and_the_docstring_name_every_argument() -> None:
    import inspect

    assert tuple(inspect.signature(otel_harn_steps.instrument).parameters) == OPTIONS
    documented = [line.partition(":")[0].strip() for line in (otel_harn_steps.instrument.__doc__ or "").splitlines()]
    assert [name for name in OPTIONS if name not in documented] == []


USERS_TEST = """
import logging
from otel_harn_steps._guard import guard

def test_app(caplog):
    with guard("trying"):
        raise ValueError("a fault of ours")
    assert "otel_harn_steps failed while trying" in caplog.text
"""


def test_our_faults_do_not_fail_a_users_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_HARN_STEPS_RAISE_FAULTS", raising=False)
    (tmp_path / "test_app.py").write_text(USERS_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_records_are_complete_json_lines_after_replacing(spans: Spans, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    otel_harn_steps.instrument(sinks=[JsonLinesSink(file)])
    run_a_step()
    otel_harn_steps.instrument(tracer_provider=spans.provider, sinks=[JsonLinesSink(file)])
    run_a_step()
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["s", "s"]
