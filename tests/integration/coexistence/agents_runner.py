"""Runs in an environment with the OpenAI Agents SDK: `python -m tests.integration.coexistence.agents_runner PROGRAM`.

A program is what happens in the process, a letter each, as in `runner.py`. At each `.` an agent runs in a step, asks for
its tool and answers; what was billed and which spans ended are printed as JSON, one line a step.
"""

from __future__ import annotations

import json
import os
import sys

from agents import Agent, Runner, function_tool, set_trace_processors
from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer
from tests.integration.programs.stand_in import Says, StandIn


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def main(program: str) -> None:
    """Carry out the program, let the agent run, and print what was seen."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    set_trace_processors([])  # the SDK's own sends to its maker
    theirs = OpenAIAgentsInstrumentor()
    deeds = {
        "O": otel_harn_steps.instrument,
        "o": otel_harn_steps.uninstrument,
        "T": theirs.instrument,
        "t": theirs.uninstrument,
    }
    with ReplayServer() as server:
        for place, letter in enumerate(program):
            if letter != ".":
                deeds[letter]()
                continue
            asked = StandIn(server, {"forecaster": [Says(tool="weather", arguments={"city": "Rome"}), Says("Sunny.")]})
            # openai-agents makes its client itself; `openai` reads the address, and nothing else depends on it.
            os.environ.update(OPENAI_API_KEY="test", OPENAI_BASE_URL=asked.url)
            agent = Agent(name="Forecaster", instructions="You are a forecaster.", tools=[weather])
            with otel_harn_steps.step("s"):
                assert Runner.run_sync(agent, "How is Rome?").final_output == "Sunny."
            _report(program[:place].replace(".", ""), asked, exporter)


def _report(so_far: str, asked: StandIn, exporter: InMemorySpanExporter) -> None:
    spans = exporter.get_finished_spans()
    exporter.clear()
    (record,) = otel_harn_steps.drain_completed_steps()
    sent = [sum(each.input_tokens for each in asked.sent), sum(each.output_tokens for each in asked.sent)]
    seen = {
        **record.to_dict(),
        "so_far": so_far,
        "sent": sent,
        "scopes": [_scope(span) for span in spans if span.name.startswith("chat")],
        "theirs": [span.name for span in spans if _scope(span).startswith("opentelemetry.instrumentation.genai")],
        "outside": [span.name for span in spans if span.context.trace_id != int(record.trace_id or "0", 16)],
    }
    sys.stdout.write(json.dumps(seen) + "\n")


def _scope(span: ReadableSpan) -> str:
    return "" if span.instrumentation_scope is None else span.instrumentation_scope.name


if __name__ == "__main__":
    main(*sys.argv[1:])
