#!/usr/bin/env python3
"""Run the recorded traffic with sets of client versions, each in a virtual environment of its own.

    tools/client_sets.py [NAME ...]     all sets without a name; compares with tests/cases/results.json
    tools/client_sets.py --write        the same, and writes the file, from which docs/providers.md is made
    tools/client_sets.py --newest       the newest release of every client, without upper bounds, made anew

Prints a table of clients, versions, and tests that passed and failed. Exits 1 where one failed, or the file is not what
was found. The environments are kept in ~/.cache/otel-harn-steps/clients.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tests" / "cases" / "results.json"
CACHE = Path(os.environ.get("OTEL_HARN_STEPS_CACHE", Path.home() / ".cache" / "otel-harn-steps")) / "clients"
HARNESS = (
    "genai-prices>=0.2.3,<0.3",
    "hypothesis",
    "opentelemetry-instrumentation",
    "opentelemetry-sdk",
    "pytest",
    "pytest-asyncio",
    "pytest-xdist",
    "wrapt",
)
TRAFFIC = ("traffic", "exceptions", "stream_usage", "deferred_streams")
CLIENTS = tuple(f"tests/calls/test_{name}.py" for name in TRAFFIC)
NATIVE = tuple(
    f"tests/clients/test_{name}.py" for name in ("native", "stainless", "google_genai", "mistralai", "cohere", "ollama")
)
OTHERS = tuple(f"tests/clients/test_{name}.py" for name in ("openai", "huggingface_hub", "bedrock"))
ONLY_WHAT_IS_RECORDED = "billed_what_was_recorded"


_PATIENCE_S = 1800


class Set(NamedTuple):
    """Client versions, and the tests that are run with them."""

    clients: tuple[str, ...]
    tests: tuple[str, ...]
    only: str = ""

    @property
    def is_unbounded(self) -> bool:
        """Whether it is of whatever is newest."""
        return not any("<" in client for client in self.clients)


# `make test` runs all the tests with today's clients: here it is only asked what they replay.
SETS = {
    "today": Set(
        (
            "anthropic",
            "boto3",
            "cerebras_cloud_sdk",
            "cohere",
            "google-genai",
            "groq",
            "huggingface_hub",
            "mistralai",
            "ollama",
            "openai",
            "together",
        ),
        (*CLIENTS, *NATIVE, *OTHERS),
    ),
    "before": Set(
        (
            "anthropic>=1.17,<2",
            "cohere>=6.1,<7",
            "google-genai>=2.34,<3",
            "groq>=1.4,<1.5",
            "mistralai>=2.10,<3",
            "ollama>=0.6,<0.7",
            "openai>=2.54,<3",
        ),
        (*CLIENTS, *NATIVE),
    ),
    "oldest": Set(
        (
            "anthropic>=0.125,<1",
            "cohere>=5.21,<6",
            "google-genai>=1.75,<2",
            "groq>=0.37,<0.38",
            "mistralai>=1.12,<2",
            "openai>=1.109,<2",
        ),
        (*CLIENTS, *NATIVE),
    ),
    # Without mcp its `responses` fails.
    "litellm": Set(("anthropic", "litellm", "mcp", "openai"), ("tests/clients/test_litellm.py",)),
    # What an installer falls back to where the newest is not possible next to the openai of today.
    "litellm-before": Set(("anthropic", "litellm>=1.83,<1.84", "mcp", "openai>=3"), ("tests/clients/test_litellm.py",)),
    "lm15": Set(("anthropic", "lm15", "openai"), ("tests/clients/test_lm15.py",)),
    "aiobotocore": Set(("aiobotocore", "anthropic", "openai"), ("tests/clients/test_bedrock.py",), only="async"),
    # Not in the environment of `make test`: where aiohttp is installed, google-genai uses it.
    "aiohttp": Set(("aiohttp", "anthropic", "httpx", "openai", "requests"), ("tests/instrument/test_unseen_calls.py",)),
}


def main() -> int:
    """Run the sets. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SETS, []], metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--write", action="store_true", help="write tests/cases/results.json")
    parser.add_argument("--newest", action="store_true", help="the newest release of every client")
    args = parser.parse_args()
    names = args.names or [name for name in SETS if not args.newest or SETS[name].is_unbounded]
    found = {name: run(name, is_newest=args.newest) for name in names}
    print(table(found))
    is_wrong = any(failures_of(client) for clients in found.values() for client in clients.values())
    if args.newest:
        return int(is_wrong)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if args.write:
        kept |= {name: {client: shown(each) for client, each in clients.items() if each["endpoints"]}
                 for name, clients in found.items()}  # fmt: skip
        RESULTS.write_text(json.dumps({name: kept[name] for name in SETS if name in kept}, indent=1) + "\n")
    for name, clients in found.items():
        if replayed_by(kept.get(name, {})) != replayed_by(clients):
            print(
                f"tests/cases/results.json is not what {name} replays: run tools/client_sets.py --write",
                file=sys.stderr,
            )
            is_wrong = True
    return int(is_wrong)


def run(name: str, *, is_newest: bool) -> dict[str, Any]:
    """What came of the tests of a set, by client."""
    chosen = SETS[name]
    python = made(f"{name}-newest" if is_newest else name, chosen.clients, is_new=is_newest)
    found = python.parent.parent / "results.json"
    found.unlink(missing_ok=True)
    print(f"== {name}: {' '.join(chosen.clients)}", flush=True)
    only = ONLY_WHAT_IS_RECORDED if name == "today" and not is_newest else chosen.only
    subprocess.run(
        [
            *(python, "-m", "pytest", "-q", "-r", "fE", "-n", str(os.cpu_count() or 1), "-p", "no:cacheprovider"),
            *("-p", "tests.replay.results", "--results", found, "--full-product", "-k", only, *chosen.tests),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=_PATIENCE_S,
    )
    if not found.exists():
        sys.exit(f"the tests of {name} did not run")
    results: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return results


def made(name: str, clients: tuple[str, ...], *, is_new: bool) -> Path:
    """The Python of an environment with these clients, which is made first if need be."""
    venv = CACHE / name
    python, stamp = venv / "bin" / "python", venv / ".installed"
    wanted = "\n".join((*clients, *HARNESS))
    if not is_new and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)  # where it is, it is faster
    installer = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    subprocess.run([*installer, "--quiet", *clients, *HARNESS], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def shown(client: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a client's results: not how many tests there are, which every new test changes."""
    return {"version": client["version"], "endpoints": client["endpoints"]}


def replayed_by(clients: dict[str, Any]) -> dict[str, Any]:
    """What is replayed by each client, whatever its version."""
    return {name: each["endpoints"] for name, each in clients.items() if each["endpoints"]}


def failures_of(client: dict[str, Any]) -> int:
    """How many of a client's tests failed."""
    return int(client["tests"].get("failed", 0))


def table(found: dict[str, dict[str, Any]]) -> str:
    """Client, version, passed, failed, for people."""
    rows = [("set", "client", "version", "passed", "failed")]
    for name, clients in found.items():
        for client, each in clients.items():
            counts = (each["tests"].get("passed", 0), failures_of(each))
            if any(counts):  # else its tests were skipped: it is not of this set
                rows.append((name, client, each["version"] or "-", *map(str, counts)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
