"""Fuzzing by coverage, with atheris: what reads other people's bytes raises nothing. `make fuzz`, or one of the readers:

    python -m tests.fuzz --seconds 60 journal

What the hypothesis suites look for among values, this looks for among bytes, and it follows what the code does with them.
A finding is written to `fuzz-findings/` and raised.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["otel_harn_steps"]):
    from otel_harn_steps import Journal
    from otel_harn_steps._calls.client import Request
    from otel_harn_steps._calls.raw_bodies import decoded
    from otel_harn_steps._clients import ADAPTERS
    from otel_harn_steps.config._loading import load
    from otel_harn_steps.store import JournalReader, JournalVersionError, RunSummary
from tests.replay.cases import all_cases
from tests.replay.plausible import assert_plausible
from tests.store.rows import ended, sent, settled, started

CONFIGURATION = b"""strict = true
models = { "gpt-deployment" = "gpt-4o" }
[[steps]]
target = "app:plan"
budget = { max_usd = 0.5, max_tokens = 100 }
error_boundary = "continue"
fallback = "json:loads"
[prices.m]
input_mtok = 1
[sinks]
json_lines = "records.jsonl"
"""
FINDINGS = Path("fuzz-findings")
REQUEST = Request("chat", "openai", "gpt-4o")


def journal(content: bytes, folder: Path) -> None:
    """A line of a journal, between two whole ones."""
    (folder / "0-1-a.jsonl").write_bytes(b'{"event": "note"}\n' + content + b'\n{"event": "note"}\n')
    summary = RunSummary()
    with contextlib.suppress(JournalVersionError):
        for event in JournalReader(folder).poll():
            summary.add(event)
    summary.to_dict()


def configuration(content: bytes, folder: Path) -> None:
    """A configuration file."""
    path = folder / "harn-steps.toml"
    path.write_bytes(content)
    for problem in load(path).problems:
        assert str(problem).startswith(path.name)


def answer(content: bytes, _: Path) -> None:
    """The body of an answer, as each client's usage is read from it, and a stream of its lines."""
    whole = decoded(content)
    events = [decoded(line.removeprefix(b"data:").strip()) for line in content.splitlines()[:20]]
    for adapter in ADAPTERS:
        if type(adapter).__name__ in {"_Bedrock", "_LM15"}:  # they read objects with bytes in them
            continue
        assert_plausible(adapter.parse(REQUEST, whole))
        state = None
        for event in events:
            state = adapter.fold(state, event)
        if state is not None:
            assert_plausible(adapter.parse(REQUEST, state))


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "journal": journal, "configuration": configuration, "answer": answer,
}  # fmt: skip


def seeds_of(name: str) -> Iterator[bytes]:
    """What each reader is meant to read."""
    if name == "answer":
        yield from (each.body for each in all_cases().values())
    elif name == "configuration":
        yield CONFIGURATION
    else:
        with TemporaryDirectory() as folder:
            written = Journal(folder)
            written.step_started(started())
            written.call_sent(sent(1))
            written.call_settled(settled(1))
            written.step_ended(ended())
            yield from (line for each in Path(folder).iterdir() for line in each.read_bytes().splitlines())


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one reader. Does not return: libFuzzer ends the process, with 0 where it found nothing."""
    FINDINGS.mkdir(exist_ok=True)
    read = READERS[name]
    with TemporaryDirectory() as corpus, TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds_of(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        flags = (f"-max_total_time={seconds}", f"-artifact_prefix={FINDINGS}/{name}-", "-max_len=4096", "-verbosity=0")
        atheris.Setup([sys.argv[0], *flags, corpus], lambda content: read(content, Path(folder)))
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], help="which; all where none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        fuzz(given.readers[0], given.seconds)
    failed = 0
    for name in given.readers or READERS:
        print(f"{name}: {given.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(given.seconds), name]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
