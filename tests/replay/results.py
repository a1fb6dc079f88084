"""What was replayed, for the table of providers: `pytest -p tests.replay.results --results FILE` writes it to a file.

A test that compares a bill with what was recorded says so by `replayed`; other tests count as passed or failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.replay.bills import Bill
from tests.replay.cases import Case

RESULTS = Path(__file__).resolve().parent.parent / "cases" / "results.json"
_MARK = "replayed"
_DISTRIBUTIONS = {
    "bedrock": "boto3",
    "google_genai": "google-genai",
    "google_vertex": "google-genai",
    "mistral": "mistralai",
}
OWN_CLIENTS = {"huggingface": "huggingface_hub", "cerebras": "cerebras_cloud_sdk"}
"""Providers whose cases the `openai` client can call too: their own client, where its name is another."""
_FILE = re.compile(r"tests/clients/test_(\w+)\.py")
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def replayed(
    record_property: Callable[[str, object], None], case: Case, mode: str, bill: Bill, client: str = ""
) -> None:
    """Note that this test compares the bill of `case` with what was recorded, with the client library of that name."""
    counted = [name for name in _COUNTS if getattr(bill, name)]
    about = {"client": client or client_of(case), "case": case.id, "endpoint": case.endpoint, "stream": case.stream}
    how = {"mode": mode, "counted": counted, "is_call": bill.llm_calls > 0, "is_told": not bill.unmetered_calls}
    record_property(_MARK, about | how)


def client_of(case: Case) -> str:
    """The distribution that calls this case's provider."""
    return _DISTRIBUTIONS.get(case.provider, case.client)


class Results:
    """Collects the outcomes of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._evidence: list[dict[str, Any]] = []
        self._outcomes: dict[str, dict[str, int]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        noted = [each for name, each in report.user_properties if name == _MARK]
        assert all(isinstance(each, dict) for each in noted)
        client = noted[0]["client"] if noted else _client_named_in(report.nodeid)
        tally = self._outcomes.setdefault(client, {})
        tally[report.outcome] = tally.get(report.outcome, 0) + 1
        self._evidence += ({**each, "passed": report.outcome == "passed"} for each in noted)

    def pytest_sessionfinish(self) -> None:
        clients = sorted({each["client"] for each in self._evidence} | self._outcomes.keys())
        found = {client: self._of(client) for client in clients}
        self._path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _of(self, client: str) -> dict[str, Any]:
        mine = [each for each in self._evidence if each["client"] == client]
        endpoints = sorted({each["endpoint"] for each in mine})
        return {
            "version": _version(client),
            "tests": self._outcomes.get(client, {}),
            "endpoints": {name: _summary([each for each in mine if each["endpoint"] == name]) for name in endpoints},
        }


def _summary(evidence: list[dict[str, Any]]) -> dict[str, Any]:
    good = [each for each in evidence if each["passed"]]
    calls = [each for each in good if each["is_call"]]
    return {
        "plain": _distinct(each["mode"] for each in good if not each["stream"]),
        "streams": _distinct(each["mode"] for each in good if each["stream"]),
        "cases": len({each["case"] for each in good}),
        "failed": len({each["case"] for each in evidence if not each["passed"]}),
        "counted": [name for name in _COUNTS if any(name in each["counted"] for each in good)],
        "unmetered": len({each["case"] for each in calls if not each["is_told"]}),
        "calls": len({each["case"] for each in calls}),
    }


def _distinct(names: Iterable[str]) -> list[str]:
    return sorted(set(names), reverse=True)


def _version(client: str) -> str | None:
    try:
        return metadata.version(client)
    except metadata.PackageNotFoundError:
        return None


def _client_named_in(nodeid: str) -> str:
    named = _FILE.search(nodeid)
    if named is not None and named[1] not in {"native", "stainless"}:
        name = named[1]
        if name == "bedrock":
            return "aiobotocore" if "async" in nodeid.partition("[")[2] else "boto3"
        return _DISTRIBUTIONS.get(name, name)
    about = re.search(r"(\w+)\.[\w-]+\.", nodeid.partition("[")[2])
    if about is None:
        return "all clients"
    if named is None:  # of tests/calls, which run these two
        return "anthropic" if about[1] == "anthropic" else "openai"
    return (_DISTRIBUTIONS | OWN_CLIENTS).get(about[1], about[1])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", metavar="FILE", help="where to write what was replayed")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--results")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(Path(path)))
