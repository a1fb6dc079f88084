"""Runs in LangChain's environment: `python -m tests.coexistence.langchain_runner`. Prints a record a line, as JSON.

OpenInference's callbacks make a span beside each call: it is never current, so only what it tells gives the call away.
"""

from __future__ import annotations

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_harn_steps
from tests.replay.answers import Answer, Script, asked_usage, recorded
from tests.replay.cases import Case, case
from tests.replay.server import ReplayServer

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
STREAM = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
USAGE = {"prompt_tokens": 23, "completion_tokens": 6, "total_tokens": 29}
QUESTIONS = ["one", "two", "three"]


def main() -> None:
    """Every way in which LangChain calls, each in a step of its name."""
    trace.set_tracer_provider(TracerProvider())
    otel_harn_steps.instrument()
    LangChainInstrumentor().instrument()
    with ReplayServer() as server:
        chat = _model(server, CHAT, recorded(CHAT))
        streaming = _model(server, STREAM, asked_usage(STREAM, USAGE))
        with otel_harn_steps.step("invoke"):
            chat.invoke("hi")
        with otel_harn_steps.step("batch"):
            chat.batch(QUESTIONS)
        with otel_harn_steps.step("stream"):
            list(streaming.stream("hi"))
        asyncio.run(_concurrently(chat))
    for record in otel_harn_steps.drain_completed_steps():
        sys.stdout.write(json.dumps(record.to_dict()) + "\n")


async def _concurrently(chat: ChatOpenAI) -> None:
    with otel_harn_steps.step("gather"):
        await asyncio.gather(*map(chat.ainvoke, QUESTIONS))


def _model(server: ReplayServer, called: Case, answer: Answer | Script) -> ChatOpenAI:
    address = f"{server.address}/{server.serve(answer).token}"
    return ChatOpenAI(model=called.request_model or "", base_url=address, api_key="test", stream_usage=True)


if __name__ == "__main__":
    main()
