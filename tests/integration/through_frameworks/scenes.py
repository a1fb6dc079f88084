"""What runs in a framework's environment: each scene in a step of its name, and what was spent, by who says so.

`python -m tests.integration.through_frameworks.on_<framework>` prints one line of JSON for each scene.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from tests.integration.fakes.aimock import AIMock

URL = os.environ["AIMOCK_URL"]
OPENAI_URL = f"{URL}/v1"
KEY = "test"
CHAT, CLAUDE, GEMINI, EMBEDDING = "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash", "text-embedding-3-small"

Scene = Callable[[], Any]
"""A use of the framework. It returns what the framework says that it spent, input and output tokens, or None."""


def play(*scenes: Scene) -> None:
    """Play the scenes one by one, and print what was spent in each."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    otel_harn_steps.instrument(tracer_provider=provider)
    aimock = AIMock(URL)
    with asyncio.Runner() as loop:  # one for all: clients keep connections from scene to scene
        for scene in scenes:
            aimock.forget()
            spans.clear()
            theirs = loop.run(_awaited(scene)) if iscoroutinefunction(scene) else _called(scene)
            records = otel_harn_steps.drain_completed_steps()
            sys.stdout.write(
                json.dumps(
                    {
                        "scene": scene.__name__,
                        "wire": [_told(entry["response"]) for entry in aimock.journal()],
                        "steps": [_spent(record) for record in records],
                        "call_spans": [s.name for s in spans.get_finished_spans() if s.kind is trace.SpanKind.CLIENT],
                        "theirs": theirs,
                    }
                )
                + "\n"
            )
            sys.stdout.flush()


def _called(scene: Scene) -> Any:
    with otel_harn_steps.step(scene.__name__):
        return scene()


async def _awaited(scene: Scene) -> Any:
    with otel_harn_steps.step(scene.__name__):
        return await scene()


def _told(response: dict[str, Any]) -> Sequence[int]:
    """Status, and the tokens of the answer. Embeddings have no fixture: their usage is in the answer alone."""
    usage = ((response.get("fixture") or {}).get("response") or {}).get("usage") or {}
    return response["status"], usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)


def _spent(record: otel_harn_steps.CompletedStep) -> dict[str, Any]:
    return {
        "path": record.path,
        "status": record.status,
        "calls": record.llm_calls,
        "unmetered": record.unmetered_calls,
        "tokens": [record.input_tokens, record.output_tokens],
        "cost_usd": record.cost_usd,
    }
