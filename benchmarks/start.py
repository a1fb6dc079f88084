#!/usr/bin/env python3
"""What it takes to start, and how long exporters that nobody listens to hold up the end.

../.venv/bin/python start.py [--rounds 20]

Each line is a process of its own, the lines in turns, the least of all rounds: processor time of the process and those
below it, and wall time. Bytecode is compiled by the first round, which does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
STEP = """
import otel_harn_steps
otel_harn_steps.instrument()
with otel_harn_steps.step("s"):
    otel_harn_steps.record_llm_usage("m", 1, 1, 0.25)
"""

PRICE = """
import time
import otel_harn_steps

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4 / 1024

otel_harn_steps.instrument()
from otel_harn_steps import price, step
before, began = resident_mb(), time.perf_counter()
assert price("gpt-4o-mini", input_tokens=10, {arguments}) is not None
print((time.perf_counter() - began) * 1e3, resident_mb() - before)
"""
# Where nobody says whose model it is, the price book itself is asked.
FIRST_PRICES = {"of the package's file": 'provider="openai"', "of the price book": "provider=None"}


def run(*options: str, program: str = "pass") -> list[str]:
    """The words of a program below the command."""
    return [PYTHON, "-m", "otel_harn_steps.cli", "run", *options, "--", PYTHON, "-c", program]


def starts(folder: str) -> dict[str, tuple[list[str], str]]:
    """By line: its command, and the line whose time is subtracted."""
    trace = "import opentelemetry.trace"
    instrument = "import otel_harn_steps; otel_harn_steps.instrument()"
    return {
        "`python -c pass`": ([PYTHON, "-c", "pass"], ""),
        f"`{trace}`": ([PYTHON, "-c", trace], "`python -c pass`"),
        "`import otel_harn_steps`": ([PYTHON, "-c", f"{trace}, otel_harn_steps"], f"`{trace}`"),
        "`instrument()`": ([PYTHON, "-c", f"{trace}; {instrument}"], "`import otel_harn_steps`"),
        "`from otel_harn_steps import step`": (
            [PYTHON, "-c", f"{trace}; {instrument}; from otel_harn_steps import step"],
            "`instrument()`",
        ),
        "`run --no-table -- python -c pass`": (run("--no-table", "--records", folder), "`python -c pass`"),
        "`run -- python -c pass`": (run("--records", folder), "`python -c pass`"),
    }


def measured(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Processor time and wall time, in milliseconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, cwd=tempfile.gettempdir(), check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1e3, wall * 1e3


def least(commands: Mapping[str, list[str]], rounds: int) -> dict[str, tuple[float, float]]:
    """The least of each line, in turns."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            sample = measured(command, environment)
            if number:
                samples[name].append(sample)
    return {name: (min(cpu for cpu, _ in each), min(wall for _, wall in each)) for name, each in samples.items()}


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def ends(rounds: int) -> dict[str, tuple[float, float]]:
    """How long a program with one step takes below `run --otlp`, by what is at the address."""
    answering = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    Thread(target=answering.serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
        addresses = {
            "a Collector that answers": answering.server_port,
            "nobody": 9,
            "one that accepts and never answers": silent.getsockname()[1],
        }
        commands = {
            name: run("--no-table", "--no-store", "--otlp", f"http://127.0.0.1:{port}", program=STEP)
            for name, port in addresses.items()
        }
        found = least(commands, rounds)
    answering.shutdown()
    return found


def first_prices(rounds: int) -> dict[str, tuple[float, float]]:
    """What the first price in a process takes: milliseconds, and MB of memory."""
    found = {}
    for name, arguments in FIRST_PRICES.items():
        command = [PYTHON, "-c", PRICE.format(arguments=arguments)]
        samples = []
        for _ in range(rounds):
            ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            ms, mb = map(float, ran.stdout.split())
            samples.append((ms, mb))
        found[name] = min(ms for ms, _ in samples), min(mb for _, mb in samples)
    return found


def main() -> None:
    """Print the tables, as benchmarks/README.md has them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        lines = starts(folder)
        times = least({name: command for name, (command, _) in lines.items()}, rounds)
    print("| start, in ms | CPU | more than | wall | more than |\n|---|---|---|---|---|")
    for name, (cpu, wall) in times.items():
        base = times.get(lines[name][1], (0.0, 0.0))
        print(f"| {name} | {cpu:.0f} | {cpu - base[0]:+.1f} | {wall:.0f} | {wall - base[1]:+.1f} |")
    print("\n| the first price | ms | MB |\n|---|---|---|")
    for name, (ms, mb) in first_prices(rounds).items():
        print(f"| {name} | {ms:.1f} | {mb:.1f} |")
    print("\n| what is at the exporter's address | CPU, ms | wall, ms |\n|---|---|---|")
    for name, (cpu, wall) in ends(max(rounds // 5, 1)).items():
        print(f"| {name} | {cpu:.0f} | {wall:.0f} |")


if __name__ == "__main__":
    main()
