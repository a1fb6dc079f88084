"""Runs in an environment with LangChain: `python -m tests.integration.coexistence.langchain_runner PEER PROGRAM`.

A program is what happens in the process, a letter each, as in `runner.py`. At each `.` LangChain calls in every way, each
in a step of its name, and what was billed and which spans ended are printed as JSON, one line a step.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from langchain_openai import ChatOpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import Answer, Script, asked_usage, recorded
from tests.replay.cases import Case, case

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
STREAM = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
USAGE = {"prompt_tokens": 23, "completion_tokens": 6, "total_tokens": 29}
QUESTIONS = ["one", "two", "three"]


def main(peer: str, program: str) -> None:
    """Carry out the program, make every call, and print what was seen."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    theirs = PEERS[peer]()
    deeds: dict[str, Callable[[], Any]] = {
        "O": otel_harn_steps.instrument,
        "o": otel_harn_steps.uninstrument,
        "T": theirs.instrument,
        "t": theirs.uninstrument,
    }
    with ReplayServer() as server, asyncio.Runner() as loop:  # one loop for all: clients keep connections
        chat = _model(server, CHAT, recorded(CHAT))
        streaming = _model(server, STREAM, asked_usage(STREAM, USAGE))
        for place, letter in enumerate(program):
            if letter != ".":
                deeds[letter]()
                continue
            _call(chat, streaming)
            loop.run(_concurrently(chat))
            _report(program[:place].replace(".", ""), exporter)


def _call(chat: ChatOpenAI, streaming: ChatOpenAI) -> None:
    with otel_harn_steps.step("invoke"):
        chat.invoke("hi")
    with otel_harn_steps.step("batch"):
        chat.batch(QUESTIONS)
    with otel_harn_steps.step("stream"):
        list(streaming.stream("hi"))


async def _concurrently(chat: ChatOpenAI) -> None:
    with otel_harn_steps.step("gather"):
        await asyncio.gather(*map(chat.ainvoke, QUESTIONS))


def _report(so_far: str, exporter: InMemorySpanExporter) -> None:
    spans = exporter.get_finished_spans()
    exporter.clear()
    for record in otel_harn_steps.drain_completed_steps():
        below = [span for span in spans if span.parent is not None and span.parent.span_id == int(record.span_id, 16)]
        scopes = [span.instrumentation_scope.name for span in below if span.instrumentation_scope is not None]
        sys.stdout.write(json.dumps({**record.to_dict(), "so_far": so_far, "scopes": scopes}) + "\n")


def _model(server: ReplayServer, called: Case, answer: Answer | Script) -> ChatOpenAI:
    address = f"{server.address}/{server.serve(answer).token}"
    return ChatOpenAI(model=called.request_model or "", base_url=address, api_key="test", stream_usage=True)


def _genai() -> Any:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    return LangChainInstrumentor()


def _openinference() -> Any:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    return LangChainInstrumentor()


PEERS: dict[str, Callable[[], Any]] = {"genai": _genai, "openinference": _openinference}


if __name__ == "__main__":
    main(*sys.argv[1:])
