"""What `make demo` runs: the agent of `agent.py`, instrumented, against recordings that this machine serves.

Then `plain_agent.py`, which knows nothing of this package, under `otel-harn-steps run` with a limit. Both are kept in a
folder of records, beside this Python, which the last line's command shows as a page.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console
from show import budget_table, span_trees, spend_table
from stand_in import stand_in

import otel_harn_steps

RECORDS = Path(os.environ.get("OTEL_HARN_STEPS_RECORDS") or Path(sys.prefix) / "demo-records")
PLAIN_AGENT = Path(__file__).with_name("plain_agent.py")
LIMIT_USD = "0.002"


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
    otel_harn_steps.instrument(sinks=[otel_harn_steps.Journal(RECORDS, run_name="newsletter")])

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print("A newsletter agent, billed per step. Its providers are recordings, served on 127.0.0.1.\n")
    with stand_in() as url:
        run_agent(url)
        show(console, exporter)
        run_plain_agent(console)


def run_plain_agent(console: Console) -> None:
    """Run an agent that nobody has changed, and let it spend so much and no more."""
    command = [sys.executable, "-m", "otel_harn_steps.cli", "run", "--records", str(RECORDS), "--max-usd", LIMIT_USD]
    console.print("\nAn agent that knows nothing of this package, and would ask fifty times", style="bold")
    console.print(f"$ otel-harn-steps run --max-usd {LIMIT_USD} -- python examples/plain_agent.py\n")
    sys.stdout.flush()
    # Its arguments are all ours.
    subprocess.run([*command, "--", sys.executable, str(PLAIN_AGENT)], stderr=subprocess.STDOUT, check=False)  # noqa: S603
    program = Path(sys.executable).with_name("otel-harn-steps")
    console.print("\nBoth as a page, in your browser:", style="bold")
    console.print(f"$ {program} serve --records {RECORDS}", soft_wrap=True)


def show(console: Console, exporter: InMemorySpanExporter) -> None:
    """Show what the agent's steps have spent."""
    records = otel_harn_steps.drain_completed_steps()
    console.print(spend_table(records))
    console.print(budget_table(records))
    console.print("Its traces", style="bold")
    for tree in span_trees(exporter.get_finished_spans()):
        console.print(tree)


if __name__ == "__main__":
    main()
