"""What `make demo` runs: the agent of `agent.py`, instrumented, against recordings that this machine serves."""

from __future__ import annotations

import os
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console
from show import budget_table, span_trees, spend_table
from stand_in import stand_in

import otel_harn_steps


def run_agent(url: str) -> None:
    """Run the agent as its users do, with the addresses of the providers in the environment."""
    os.environ |= {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "not needed",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "not needed",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    # Not at the top: the agent makes its clients when it is imported, and they read the environment.
    import agent  # noqa: PLC0415

    agent.newsletter("Hello, world!")
    try:
        agent.invite("The meeting is scheduled for March 15th at 2 PM.")
    except otel_harn_steps.StepEscalated as escalated:
        print(f"Here an app would ask a person: {escalated}.\n")


def main() -> None:
    """Trace the agent, run it, and show what its steps spent."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    otel_harn_steps.instrument()

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print("A newsletter agent, billed per step. Its providers are recordings, served on 127.0.0.1.\n")
    with stand_in() as url:
        run_agent(url)

    records = otel_harn_steps.drain_completed_steps()
    console.print(spend_table(records))
    console.print(budget_table(records))
    console.print("Its traces", style="bold")
    for tree in span_trees(exporter.get_finished_spans()):
        console.print(tree)


if __name__ == "__main__":
    main()
