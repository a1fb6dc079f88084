"""How long the store takes over many calls: the first index, reports, and how large the index is.

    ../.venv/bin/python store.py [--calls 1000000] [--folder DIR] [--page]

Writes the journals of runs with one agent of nine steps (48 calls a run, four models, thirty days), reads them as the
commands do, each in a process of its own, and prints a table. With --folder, journals that are there are used again.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
from otel_harn_steps._telemetry.journal_lines import (
    VERSION, JournalHeader, call_sent_line, call_settled_line, header_line, step_ended_line, step_started_line,
)
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.store import Store

S = 10**9
DAY_S = 86_400
MODELS = [("openai", "gpt-5"), ("openai", "gpt-5-nano"), ("anthropic", "claude-sonnet-4-5"), ("google", "gemini-3")]
NAMES = ["plan", "retrieve", "rank", "write", "review", "summarise", "route", "tools"]
STEPS_PER_RUN, CALLS_PER_STEP = 8, 6
REPORT = "import sys; from otel_harn_steps.cli._command import main; sys.exit(main(sys.argv[1:]))"


def write(folder: Path, calls: int) -> None:
    """Write the journals of runs with so many calls, or a few more."""
    chosen = random.Random(5)
    hex_id = lambda: f"{chosen.getrandbits(64):016x}"  # noqa: E731
    now = time.time_ns()
    for _ in range(-(-calls // (STEPS_PER_RUN * CALLS_PER_STEP))):
        run, root = hex_id(), hex_id()
        at = begin = now - chosen.randrange(30 * DAY_S) * S
        header = JournalHeader(
            version=VERSION, run_id=run, run_name="agent.py", process_id=99_999_999, parent_process_id=1,
            program="agent.py", started_at=begin, package_version="0", python_version="3",
        )
        step = StartedStep(root, run, None, "agent", "agent", "agent", begin)
        lines = [header_line(header), step_started_line(step)]
        for _ in range(STEPS_PER_RUN):
            name, step_id, step_at = chosen.choice(NAMES), hex_id(), at
            lines.append(step_started_line(StartedStep(step_id, run, root, name, name, f"agent/{name}", at)))
            for _ in range(CALLS_PER_STEP):
                at += S
                provider, model = chosen.choice(MODELS)
                row = CallRow(
                    hex_id(), run, step_id, root, name, f"agent/{name}", None, {}, at, provider, "chat", model
                )
                lines.append(call_sent_line(row))
                lines.append(call_settled_line(replace(
                    row, outcome="answered", duration_ns=812_345_678, model=model, certainty="measured",
                    input_tokens=chosen.randrange(9_000), output_tokens=chosen.randrange(900),
                    cost_picousd=chosen.randrange(10**10), price_book="genai-prices 0.2.3",
                    terms={"service_tier": "default"},
                )))
            failed = chosen.random() < 0.1
            lines.append(step_ended_line(ended(run, step_id, root, name, f"agent/{name}", step_at, at, failed=failed)))
        lines.append(step_ended_line(ended(run, root, None, "agent", "agent", begin, at)))
        path = folder / f"{run}-99999999-{chosen.getrandbits(32):08x}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ended(
    run: str, step_id: str, parent_id: str | None, name: str, path: str, begin: int, end: int, *, failed: bool = False
) -> CompletedStep:
    """The record of a step."""
    return CompletedStep(
        name=name, function=name, model=None, input_tokens=0, output_tokens=0, cost_usd=0.0, llm_calls=0,
        status="failed" if failed else "completed", error=None, max_usd=0.05, breach="max_usd" if failed else None,
        path=path, run_id=run, step_id=step_id, parent_id=parent_id, start_time=begin, end_time=end,
    )


def timed(folder: Path, *command: str) -> float:
    """The seconds that a command takes, in a process of its own."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", REPORT, *command, "--records", str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def measure(folder: Path, *, page: bool) -> None:
    """Print the table."""
    for each in folder.glob("index.sqlite*"):
        each.unlink()
    began, began_cpu = time.perf_counter(), time.process_time()
    with Store(folder) as store:
        store.update()
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        (calls,) = store._index.database.execute("SELECT COUNT(*) FROM calls").fetchone()
        (lines,) = store._index.database.execute("SELECT SUM(line) FROM files").fetchone()
    size = sum(each.stat().st_size for each in folder.glob("index.sqlite*"))
    rows = [
        ("calls, and lines of journals", f"{calls:,}, {lines:,}"),
        ("first index, seconds (CPU)", f"{seconds:.1f} ({cpu:.1f})"),
        ("calls a second", f"{calls / seconds:,.0f}"),
        ("bytes of the index for a call", f"{size / calls:.0f}"),
        ("report, seconds", f"{min(timed(folder, 'report') for _ in range(3)):.2f}"),
        ("report --by model --since 7d, seconds", f"{min(timed(folder, 'report', '--by', 'model', '--since', '7d') for _ in range(3)):.2f}"),
        ("show last, seconds", f"{min(timed(folder, 'show', 'last') for _ in range(3)):.2f}"),
    ]
    if page:
        html = folder / "page.html"
        rows.append(("report --html, seconds", f"{min(timed(folder, 'report', '--html', str(html)) for _ in range(2)):.2f}"))
        rows.append(("bytes of the page", f"{html.stat().st_size:,}"))
    for name, value in rows:
        print(f"| {name} | {value} |")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.glob("*.jsonl")):
            write(folder, options.calls)
        measure(folder, page=options.page)


if __name__ == "__main__":
    main()
