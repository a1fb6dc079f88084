"""Command line programs from PyPI, unmodified: under `otel-harn-steps run` without a file they behave as without us, and
the bill is what the provider handed out.

The provider stands in for its own host (`hosts.py`), because a base URL changes which way some of them take.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_harn_steps import price
from tests.integration.coexistence.venvs import python_of
from tests.integration.programs.hosts import ENVIRONMENTS, Hosts
from tests.integration.programs.installed import ROOT
from tests.integration.programs.published import (
    ENDLESS,
    GREETING,
    LEAVES_A_STREAM,
    POSTS_BY_ITSELF,
    PUBLISHED,
    Published,
)
from tests.integration.programs.stand_in import Scripted, Sent

pytestmark = pytest.mark.slow

THREE = ("mini", "aider-commits", "sgpt")
# The command's own, and the warning of a call that no patched client has sent.
_OUR_LINES = ("otel-harn-steps: ",)
_GIT = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "test"), ("EMAIL", "test@example.org"), ("DATE", "2026-01-01T00:00:00Z"))
}


@dataclass(frozen=True, slots=True)
class Bill:
    """What a run has spent."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: float
    not_measured: int = 0
    """Calls whose usage or price is not known, or that have not ended."""

    @classmethod
    def of(cls, program: Published, sent: Sequence[Sent]) -> Bill:
        """What these answers cost."""
        costs = [
            price(
                program.model,
                provider=program.provider,
                input_tokens=each.input_tokens,
                output_tokens=each.output_tokens,
                cache_read_tokens=each.cached_tokens,
            )
            for each in sent
        ]
        return cls(
            len(sent),
            sum(each.input_tokens for each in sent),
            sum(each.cached_tokens for each in sent),
            sum(each.output_tokens for each in sent),
            pytest.approx(float(sum(cost for cost in costs if cost is not None)), abs=1e-12),
        )

    @classmethod
    def read(cls, summary: Mapping[str, Any]) -> Bill:
        """What `--json` wrote."""
        total = summary["total"]
        names = ("calls", "input_tokens", "cache_read_tokens", "output_tokens", "cost_usd")
        unsure = ("unmetered_calls", "unpriced_calls", "unknown_calls", "estimated_calls", "open_calls")
        return cls(*(total[name] for name in names), not_measured=sum(total[name] for name in unsure))


@dataclass(frozen=True, slots=True)
class Seen:
    """What can be seen of a run from outside."""

    code: int
    stdout: str
    stderr: str
    files: frozenset[str]
    makes: Mapping[str, str]
    refused: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run, and what the provider sent."""

    seen: Seen
    sent: Sequence[Sent]
    summary: Mapping[str, Any]
    """What `--json` wrote."""


@pytest.fixture
def run(hosts: Hosts, installed: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs a program, by itself or under our command. Its home is made anew each time, at the same place."""

    def run(program: Published, *, ours: bool, limits: Sequence[str] = ()) -> Ran:
        python = python_of(program.environment, ENVIRONMENTS)
        home, summary = tmp_path / "home", tmp_path / "summary.json"
        repository = _repository(home)
        if program.prepare is not None:
            program.prepare(home, repository, python)
        words = [str(python.with_name(program.command[0])), *program.command[1:]]
        if ours:
            options = ["--no-table", "--json", str(summary), "--records", str(tmp_path / "records"), *limits]
            words = [str(python), "-m", "otel_harn_steps.cli", "run", *options, "--", *words]
        provider = Scripted(program.script, program.model)
        hosts.begin(provider.answer)
        environment = {
            **_plain_environment(home, python),
            **hosts.environment,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, installed))),
        }
        done = subprocess.run(
            words, cwd=repository, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        seen = Seen(
            done.returncode,
            done.stdout,
            _without_ours(done.stderr),
            frozenset(_files(home)),
            {name: (repository / name).read_text(encoding="utf-8") for name in program.makes},
            list(hosts.refused),
        )
        return Ran(seen, provider.sent, json.loads(summary.read_text(encoding="utf-8")) if ours else {})

    return run


def _repository(home: Path) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    repository = home / "repository"
    repository.mkdir(parents=True)
    (home / "tmp").mkdir()
    (repository / "greet.py").write_text(GREETING, encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **_GIT}
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "First"]):
        subprocess.run(["git", *words], cwd=repository, env=environment, check=True, timeout=60)
    return repository


def _plain_environment(home: Path, python: Path) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join((str(python.parent), os.environ["PATH"])),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "OPENAI_API_KEY": "test",
        "ANTHROPIC_API_KEY": "test",
        "OPENROUTER_API_KEY": "test",
        "MSWEA_CONFIGURED": "true",  # or it asks for a key at its first start
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it looks for newer prices at its own host, with random waits
        **_GIT,
    }


def _without_ours(stderr: str) -> str:
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith(_OUR_LINES))


def _files(home: Path) -> Iterator[str]:
    for path in home.rglob("*"):
        name = str(path.relative_to(home))
        if path.is_file() and "/.git/" not in f"/{name}":
            yield name


def _unchanged(program: Published, run: Callable[..., Ran]) -> Ran:
    """The run under our command, after one by itself that looked the same."""
    bare = run(program, ours=False)
    assert (bare.seen.code, program.prints in bare.seen.stdout) == (0, True), bare.seen
    assert bare.seen.makes == program.makes
    ours = run(program, ours=True)
    assert ours.seen == bare.seen
    assert ours.sent == bare.sent
    return ours


@pytest.mark.parametrize("program", PUBLISHED, ids=lambda program: program.name)
def test_a_published_program_is_billed_whole_and_unchanged(program: Published, run: Callable[..., Ran]) -> None:
    ours = _unchanged(program, run)
    assert Bill.read(ours.summary) == Bill.of(program, ours.sent)


def test_a_stream_that_a_program_leaves_before_its_usage_is_shown_as_unknown(run: Callable[..., Ran]) -> None:
    ours = _unchanged(LEAVES_A_STREAM, run)
    total, measured = ours.summary["total"], Bill.of(LEAVES_A_STREAM, ours.sent[1:])
    assert (total["calls"], total["unmetered_calls"], total["unknown_calls"]) == (2, 1, 1)
    assert (total["input_tokens"], total["cost_usd"]) == (measured.input_tokens, measured.cost_usd)


def test_calls_that_a_program_posts_by_itself_are_counted_as_unseen(run: Callable[..., Ran]) -> None:
    ours = _unchanged(POSTS_BY_ITSELF, run)
    assert ours.summary["total"]["calls"] == 0
    (note,) = (note for note in ours.summary["notes"] if note["event"] == "unseen_call")
    assert (note["host"], note["library"], note["count"]) == ("openrouter.ai", "requests", len(ours.sent))


@pytest.mark.parametrize("program", ENDLESS, ids=lambda program: program.name)
@pytest.mark.parametrize("limits", [("--max-calls", "3"), ("--max-usd", "0.0002")], ids=["calls", "dollars"])
def test_a_program_that_goes_on_for_ever_is_ended_at_its_budget(
    program: Published, limits: Sequence[str], run: Callable[..., Ran]
) -> None:
    """Whatever it, its framework and its retries make of the refusal. What it has done until then is there."""
    ours = run(program, ours=True, limits=("--grace", "5", *limits))
    assert ours.seen.code == 75, ours.seen
    assert ours.summary["budget"]["ended_by"]["limit"] == limits[0].removeprefix("--").replace("-", "_")
    assert 1 <= len(ours.sent) <= 5
    assert Bill.read(ours.summary).calls == len(ours.sent)
    if limits[0] == "--max-usd":
        assert ours.summary["total"]["cost_usd"] <= float(limits[1])
    else:
        assert len(ours.sent) == int(limits[1])
    for name, line in program.makes.items():
        assert set(ours.seen.makes[name].splitlines()) == {line}
        assert len(ours.seen.makes[name].splitlines()) <= len(ours.sent)


def test_a_program_that_its_budget_stops_keeps_what_it_has_done(run: Callable[..., Ran]) -> None:
    """aider has made its edit, and is refused the call for the commit's message, which it would try again."""
    program = next(each for each in PUBLISHED if each.name == "aider-commits")
    ours = run(program, ours=True, limits=("--grace", "5", "--max-calls", "1"))
    assert ours.seen.code == 75, ours.seen
    assert len(ours.sent) == 1
    assert ours.seen.makes == program.makes


READING = (
    ["report"],
    ["report", "--by", "model"],
    ["report", "--by", "program", "--csv"],
    ["report", "--by", "path", "--json"],
    ["report", "--by", "day"],
    ["show", "last"],
    ["show", "last", "--json"],
    ["top", "--once"],
    ["whatif", "--model", "gpt-5-nano"],
    ["budget", "suggest"],
    ["watch", "--max-usd-per-hour", "100", "--once"],
    ["export"],
    ["export", "--format", "csv"],
    ["doctor"],
)


def test_what_three_programs_have_cost_can_be_read_by_every_command(run: Callable[..., Ran], tmp_path: Path) -> None:
    by_name = {program.name: program for program in PUBLISHED}
    summaries = {name: run(by_name[name], ours=True).summary for name in THREE}
    records = str(tmp_path / "records")
    ids = [summary["run_id"] for summary in summaries.values()]
    shown = {}
    for words in (*READING, ["report", "--html", str(tmp_path / "page.html")], ["diff", *ids[:2]]):
        done = subprocess.run(
            [sys.executable, "-m", "otel_harn_steps.cli", *words, "--records", records],
            cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1 if words[0] == "doctor" else 0), (words, done.stderr)
        shown[" ".join(words)] = done.stdout

    calls = sum(summary["total"]["calls"] for summary in summaries.values())
    picousd = sum(summary["total"]["cost_picousd"] for summary in summaries.values())
    report = json.loads(shown["report --by path --json"])
    assert (report["total"]["calls"], report["total"]["cost_picousd"], report["runs"]) == (calls, picousd, 3)
    assert sum(json.loads(line)["cost_picousd"] or 0 for line in shown["export"].splitlines()) == picousd
    assert {line.split(",")[0] for line in shown["report --by program --csv"].splitlines()[1:]} >= {
        summary["program"] for summary in summaries.values()
    }
    assert (tmp_path / "page.html").stat().st_size > 10_000
