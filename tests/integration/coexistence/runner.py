"""Runs in the environment of another instrumentation: `python -m tests.integration.coexistence.runner PEER PROGRAM [bare]`.

A program is what happens in the process, a letter each: `O` we come, `o` we go, `T` they come, `t` they go. At each `.`
every call of `SHAPES` is made in a step, and what was billed and which spans ended are printed as JSON, one line a call. In a bare run we never come.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC, AsyncMode
from otel_harn_steps.testing._seen import Seen
from tests.integration.coexistence.peers import PEERS
from tests.replay.answers import Answer, Script, asked_usage, recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import way

_UNASKED = "openai.chat-completions.stream.sync_chat_completions_stream_version_latest"
_UNASKED_USAGE = {"prompt_tokens": 23, "completion_tokens": 6, "total_tokens": 29}
_CHAT = "openai.chat-completions.sync_chat_completions_version_latest"
_CHAT_STREAM = "openai.chat-completions.stream.async_chat_completion_streaming"
_MESSAGES = "anthropic.messages.anthropic_instrumentation_tool_use_in_input"
_CACHED = "anthropic.messages.anthropic_prompt_caching_async_legacy"
_MESSAGES_STREAM = "anthropic.messages.stream.sync_messages_stream_version_v1_only"


@dataclass(frozen=True, slots=True)
class Shape:
    """A recorded call and a way to make it."""

    case_id: str
    way: str

    @property
    def case(self) -> Case:
        return case(self.case_id)

    @property
    def script(self) -> tuple[Answer | Script, ...]:
        """What the server says. Chat streams report their usage as OpenAI does: if asked."""
        return (asked_usage(self.case, _UNASKED_USAGE),) if self.case_id == _UNASKED else (recorded(self.case),)

    @property
    def bill(self) -> Bill:
        """What the call must cost."""
        return Bill(1, 0, 23, 6) if self.case_id == _UNASKED else bill_of(self.case)


SHAPES = (
    Shape(_CHAT, "create"),
    Shape(_CHAT, "raw"),
    Shape(_CHAT, "streaming.json"),
    Shape(_CHAT_STREAM, "create.for"),
    Shape(_CHAT_STREAM, "stream.final"),
    Shape(_CHAT_STREAM, "raw.parse"),
    Shape(_UNASKED, "create.for"),
    Shape("openai.responses.TestResponsesAPIFinishReasons.responses_api", "create"),
    Shape("openai.responses.stream.responses_stream", "create.for"),
    Shape("openai.embeddings.TestOpenAI.instrumentation", "create"),
    Shape(_MESSAGES, "create"),
    Shape(_MESSAGES, "raw"),
    Shape(_CACHED, "create"),
    Shape(_MESSAGES_STREAM, "create.for"),
    Shape(_MESSAGES_STREAM, "stream.final"),
    Shape("anthropic.beta-messages.stream.sync_messages_beta_stream", "create.for"),
)


def main(peer: str, program: str, mode: str = "") -> None:
    """Carry out the program, make every call, and print what was seen."""
    exporter = InMemorySpanExporter()
    _set_up_sdk(peer, exporter)
    theirs = PEERS[peer]()
    deeds = {
        "O": _nothing if mode == "bare" else otel_harn_steps.instrument,
        "o": _nothing if mode == "bare" else otel_harn_steps.uninstrument,
        "T": theirs.instrument,
        "t": theirs.uninstrument,
    }
    asynchronous = AsyncMode()
    with ReplayServer() as server:
        clients = [Clients(mode, server.address) for mode in (SYNC, asynchronous)]
        for place, letter in enumerate(program):
            if letter != ".":
                deeds[letter]()
                continue
            so_far = program[:place].replace(".", "")
            for each, shape in product(clients, SHAPES):
                _report(so_far, _made(shape, each, server, exporter))
            for each, case_id in product(clients, (_CHAT, _MESSAGES)):
                _report(so_far, _exhausted(Shape(case_id, "create"), each, server))
        for each in clients:
            each.close()
    asynchronous.close()


def _set_up_sdk(peer: str, exporter: InMemorySpanExporter) -> None:
    if peer == "logfire":
        import logfire

        processors = [SimpleSpanProcessor(exporter)]
        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=processors, metrics=False)
        return
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def _made(shape: Shape, clients: Clients, server: ReplayServer, exporter: InMemorySpanExporter) -> dict[str, Any]:
    trip = Trip(shape.case, way(shape.case, shape.way))
    exporter.clear()

    async def in_a_step() -> Any:
        with otel_harn_steps.step("s"):
            return await travel(trip, clients, server, *shape.script)

    run = clients.mode.run(in_a_step())
    (record,) = otel_harn_steps.drain_completed_steps()
    spans = exporter.get_finished_spans()
    return {
        "call": f"{clients.mode.name} {shape.case_id} {shape.way}",
        "client": shape.case.client,
        "is_stream": shape.case.stream,
        "app_saw": _digest(run.seen),
        "raised": [repr(error) for error in run.seen.values("raised")],
        "billed": asdict(Bill.of_record(record)),
        "observed": record.observed_calls,
        "due": asdict(shape.bill),
        "cost_usd": record.cost_usd,
        "spans": [_shown(span, spans, record.span_id) for span in spans],
    }


def _exhausted(shape: Shape, clients: Clients, server: ReplayServer) -> dict[str, Any]:
    """Two calls in a step whose budget the first one crosses."""
    trip = Trip(shape.case, way(shape.case, shape.way))
    exchanges = []

    async def in_a_step() -> None:
        with suppress(otel_harn_steps.StepBudgetExceeded), otel_harn_steps.step("s", max_tokens=1):
            for _ in range(2):
                run = await travel(trip, clients, server, *shape.script)
                exchanges.append(run.exchange)

    clients.mode.run(in_a_step())
    otel_harn_steps.drain_completed_steps()
    return {
        "exhausted": f"{clients.mode.name} {shape.case_id}",
        "sent": [len(exchange.requests) for exchange in exchanges],
    }


def _report(so_far: str, seen: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"so_far": so_far, **seen}) + "\n")


def _nothing() -> None: ...


def _digest(seen: Seen) -> str:
    written = re.sub(r"0x[0-9a-f]+", "", repr(seen.entries))
    return hashlib.sha256(written.encode()).hexdigest()


def _shown(span: ReadableSpan, spans: Sequence[ReadableSpan], step_id: str) -> dict[str, Any]:
    attributes: Mapping[str, Any] = span.attributes or {}
    return {
        "name": span.name,
        "scope": "" if span.instrumentation_scope is None else span.instrumentation_scope.name,
        "is_below_step": _is_below(span, spans, int(step_id, 16)),
        "operation": attributes.get("gen_ai.operation.name"),
        "cost_usd": attributes.get("harn.call.cost_usd"),
        "step": attributes.get("harn.step.name"),
        "usage": {name: value for name, value in attributes.items() if re.search(r"usage.*token|token_count", name)},
        "kinds": {
            name: attributes[name]
            for name in ("openinference.span.kind", "traceloop.span.kind", "llm.request.type")
            if name in attributes
        },
    }


def _is_below(span: ReadableSpan, spans: Sequence[ReadableSpan], step_id: int) -> bool:
    by_id = {each.context.span_id: each for each in spans if each.context is not None}
    parent = span.parent
    while parent is not None and parent.span_id != step_id:
        above = by_id.get(parent.span_id)
        parent = None if above is None else above.parent
    return parent is not None


if __name__ == "__main__":
    main(*sys.argv[1:])
