"""Hand-made step spans and call spans, with the names of the wire, and how they are sent."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

SERVICE = "hand-made"
STATUSES_OF_A_BREACH = ("failed", "skipped", "escalated")

# A deadline for a machine that stands still for a while, not a measure of the Collector.
SENT_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Step:
    """What a step span says."""

    name: str
    cost_usd: float
    input_tokens: int
    output_tokens: int
    llm_calls: int = 1
    status: str = "completed"
    exceeded: bool = False
    model: str = "gpt-4o-mini"
    total_cost_usd: float | None = None

    def attributes(self) -> dict[str, Any]:
        """The attributes of its span."""
        attributes: dict[str, Any] = {
            "harn.step.name": self.name,
            "harn.step.function": self.name,
            "harn.step.path": self.name,
            "harn.step.input_tokens": self.input_tokens,
            "harn.step.output_tokens": self.output_tokens,
            "harn.step.cost_usd": self.cost_usd,
            "harn.step.llm_calls": self.llm_calls,
            "harn.step.unpriced_calls": 0,
            "harn.step.model": self.model,
            "harn.step.total.cost_usd": self.cost_usd if self.total_cost_usd is None else self.total_cost_usd,
            "harn.step.status": self.status,
            "harn.step.budget.exceeded": self.exceeded,
        }
        if self.exceeded:
            attributes["harn.step.budget.limit"] = "max_usd"
        return attributes


class Maker:
    """Makes spans with the SDK and keeps them until they are sent."""

    def __init__(self, resource: Mapping[str, str] | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(resource=Resource({"service.name": SERVICE, **(resource or {})}))
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._provider.get_tracer("hand-made")
        self.marks_errors = True

    def trace(self, *steps: Step) -> int:
        """One trace: the first step is the root, the others are inside it; in each step one call span. Its trace id."""
        root = None
        for step in steps:
            span = self.tracer.start_span(
                f"step {step.name}", set_span_in_context(root) if root else None, attributes=step.attributes()
            )
            root = root or span
            call: dict[str, Any] = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": step.model,
                "gen_ai.usage.input_tokens": step.input_tokens,
                "gen_ai.usage.output_tokens": step.output_tokens,
                "harn.step.name": step.name,
                "harn.call.cost_usd": step.cost_usd,
            }
            self.tracer.start_span(f"chat {step.model}", set_span_in_context(span), SpanKind.CLIENT, call).end()
            if step.status != "completed" and self.marks_errors:
                span.set_status(
                    Status(StatusCode.ERROR, f"step `{step.name}` exceeded max_usd budget ($0.060000 > $0.050000)")
                )
            if span is not root:
                span.end()
        assert root is not None
        root.end()
        return root.get_span_context().trace_id

    def take(self) -> tuple[ReadableSpan, ...]:
        """The spans that were made since the last time."""
        spans = self._exporter.get_finished_spans()
        self._exporter.clear()
        return spans


@dataclass(slots=True)
class Spent:
    """The sums over steps, as a backend should have them."""

    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    llm_calls: int = 0
    breaches: int = 0
    steps: int = 0
    traces: set[int] = field(default_factory=set)
    breached: set[int] = field(default_factory=set)

    def add(self, step: Step) -> Step:
        """Count `step`, and give it back."""
        self.cost_usd += step.cost_usd
        self.input_tokens += step.input_tokens
        self.output_tokens += step.output_tokens
        self.llm_calls += step.llm_calls
        self.breaches += step.exceeded
        self.steps += 1
        return step


def run_of_agents(maker: Maker, runs: int, seed: int = 5) -> Spent:
    """Make `runs` traces of a plan and a draft each; every fifth draft crosses its budget. The money is odd on purpose."""
    chance, spent = random.Random(seed), Spent()
    for number in range(runs):
        breach = number % 5 == 0
        plan = Step("plan", chance.randint(1, 90_000) / 1e6, chance.randint(1, 5000), chance.randint(0, 900))
        draft = Step(
            "draft",
            chance.randint(1, 90_000) / 1e6,
            chance.randint(1, 5000),
            chance.randint(0, 900),
            llm_calls=chance.randint(1, 4),
            status=chance.choice(STATUSES_OF_A_BREACH) if breach else "completed",
            exceeded=breach,
            model=chance.choice(["gpt-4o", "claude-sonnet-4-5"]),
        )
        trace_id = maker.trace(spent.add(plan), spent.add(draft))
        spent.traces.add(trace_id)
        if breach:
            spent.breached.add(trace_id)
    return spent


def span_ids(spans: Iterable[ReadableSpan]) -> list[bytes]:
    """The ids of spans, sorted, as `Backend.span_ids` has them."""
    return sorted(span.get_span_context().span_id.to_bytes(8) for span in spans)


def send(
    spans: Sequence[ReadableSpan],
    *,
    grpc: str | None = None,
    http: str | None = None,
    headers: Mapping[str, str] | None = None,
    per_request: int = 500,
) -> bool:
    """Send spans with the SDK's own exporter. Whether all were accepted."""
    sent = dict(headers or {})
    exporter = (
        GrpcSpanExporter(endpoint=grpc, insecure=True, headers=sent, timeout=SENT_WITHIN_S)
        if grpc
        else HttpSpanExporter(endpoint=f"{http}/v1/traces", headers=sent, timeout=SENT_WITHIN_S)
    )
    try:
        parts = [spans[at : at + per_request] for at in range(0, len(spans), per_request)]
        return all(exporter.export(part) is SpanExportResult.SUCCESS for part in parts)
    finally:
        exporter.shutdown()
