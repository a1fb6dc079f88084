"""Runs where the packages of `environments/frameworks.txt` are: `... -m tests.integration.coexistence.frameworks_runner PEER PROGRAM [bare]`.

A program is what happens in the process, a letter each, as in `runner.py`. At each `.` every scene of the peer is played
in a step of its name, and what was sent, what was billed and which spans ended are printed as JSON, one line a step.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer
from tests.integration.coexistence.client_scenes import Scene
from tests.integration.coexistence.frameworks_peers import PEERS, Peer
from tests.integration.programs.stand_in import Says, StandIn

SCRIPT = [Says(tool="weather", arguments={"city": "Rome"}), Says("Sunny.")]
# The names under which a backend finds input and output tokens, by dialect. Langfuse has its own as JSON.
DIALECTS: Mapping[str, Sequence[Sequence[str]]] = {
    "gen_ai": (
        ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    ),
    "llm.usage": (("llm.usage.prompt_tokens",), ("llm.usage.completion_tokens",)),
    "llm.token_count": (("llm.token_count.prompt",), ("llm.token_count.completion",)),
}
IN_JSON: Mapping[str, Sequence[Sequence[str]]] = {
    "langfuse.observation.usage_details": (
        ("input", "prompt_tokens", "input_tokens"),
        ("output", "completion_tokens", "output_tokens"),
    ),
}


def main(peer: str, program: str, mode: str = "") -> None:
    """Carry out the program, play the scenes, and print what was seen."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    theirs = PEERS[peer](provider)
    deeds = {
        "O": otel_harn_steps.instrument,
        "o": otel_harn_steps.uninstrument,
        "T": theirs.instrument,
        "t": theirs.uninstrument,
    }
    with ReplayServer() as server, asyncio.Runner() as loop:  # one loop for all: clients keep connections
        for place, letter in enumerate(program):
            if letter != "." and not (mode == "bare" and letter in "Oo"):
                deeds[letter]()
            for name, scene in theirs.scenes.items() if letter == "." else ():
                asked = StandIn(server, {"Rome": list(SCRIPT)})
                loop.run(_played(name, scene, theirs, asked.url))
                _report(program[:place].replace(".", ""), asked, exporter.get_finished_spans())
                exporter.clear()


async def _played(name: str, scene: Scene, theirs: Peer, url: str) -> None:
    with otel_harn_steps.step(name):
        await scene(url)
        await theirs.settle()


def _report(so_far: str, asked: StandIn, spans: Sequence[ReadableSpan]) -> None:
    (record,) = otel_harn_steps.drain_completed_steps()
    seen = {
        "so_far": so_far,
        "scene": record.name,
        "calls": len(asked.sent),
        "due": [sum(each.input_tokens for each in asked.sent), sum(each.output_tokens for each in asked.sent)],
        "billed": [record.llm_calls, record.observed_calls, record.input_tokens, record.output_tokens],
        "cost_usd": record.cost_usd,
        "spans": sorted(map(_shown, spans), key=json.dumps),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


def _shown(span: ReadableSpan) -> dict[str, Any]:
    attributes: Mapping[str, Any] = span.attributes or {}
    scope = span.instrumentation_scope
    return {
        "scope": "" if scope is None else scope.name,
        "name": re.sub(r"0x[0-9a-f]+", "", span.name),
        "tokens": _tokens(attributes),
        "cost_usd": attributes.get("harn.call.cost_usd"),
        "step": attributes.get("harn.step.name"),
    }


def _tokens(attributes: Mapping[str, Any]) -> dict[str, list[int]]:
    found = {dialect: [_first(attributes, each) for each in names] for dialect, names in DIALECTS.items()}
    for name, keys in IN_JSON.items():
        usage = json.loads(attributes.get(name) or "{}")
        found[name] = [_first(usage, each) for each in keys]
    return {dialect: tokens for dialect, tokens in found.items() if any(tokens)}


def _first(values: Mapping[str, Any], names: Sequence[str]) -> int:
    return next((values[name] for name in names if values.get(name)), 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
