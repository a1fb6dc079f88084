"""`tests/cases/results.json`, from which the table of providers is made, is what these tests replay."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from otel_harn_steps._clients import ADAPTERS
from tests.replay.cases import all_cases
from tests.replay.results import RESULTS, client_of

ROOT = Path(__file__).resolve().parents[2]
KEPT = json.loads(RESULTS.read_text(encoding="utf-8"))
CLIENTS = {name: found for clients in KEPT.values() for name, found in clients.items()}
# One recording was kept as what a client had made of the stream, not as its bytes.
NOT_REPLAYED = {"bedrock.converse-stream.TestConverseStream.invoke_tool_message"}


@pytest.fixture(scope="module")
def client_sets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("client_sets", ROOT / "tools" / "client_sets.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_set_of_clients_was_run(client_sets: ModuleType) -> None:
    assert list(KEPT) == list(client_sets.SETS)


def test_every_recorded_case_was_replayed() -> None:
    wanted = Counter((client_of(each), each.endpoint) for each in all_cases().values() if each.id not in NOT_REPLAYED)
    found = {
        which: max(
            clients[which[0]]["endpoints"].get(which[1], {"cases": 0})["cases"]
            for clients in KEPT.values()  # the newest anthropic has no `complete`
            if which[0] in clients
        )
        for which in wanted
    }
    assert found == dict(wanted)


def test_nothing_that_was_replayed_failed() -> None:
    failed = [
        (name, endpoint) for name, found in CLIENTS.items() for endpoint in found["endpoints"]
        if found["endpoints"][endpoint]["failed"]
    ]  # fmt: skip
    assert failed == []


def test_every_provider_has_a_client_that_was_replayed() -> None:
    distributions = {"botocore": "boto3", "google-genai interactions": "google-genai"}
    names = {distributions.get(each.name, each.name.partition(".")[0]) for each in ADAPTERS}
    assert names <= CLIENTS.keys()


def test_a_client_that_fails_is_told(client_sets: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    found = {"openai": {"version": "4.0.0", "tests": {"passed": 2, "failed": 1}, "endpoints": {}}}
    monkeypatch.setattr(client_sets, "run", lambda name, *, is_newest: found)
    monkeypatch.setattr(sys, "argv", ["client_sets.py", "--newest", "today"])
    assert client_sets.main() == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["today", "openai", "4.0.0", "2", "1"]


def test_a_file_that_is_not_what_was_found_is_told(
    client_sets: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(client_sets, "run", lambda name, *, is_newest: {**KEPT_TODAY, "ollama": LESS})
    monkeypatch.setattr(sys, "argv", ["client_sets.py", "today"])
    assert client_sets.main() == 1
    assert "results.json is not what today replays: run tools/client_sets.py --write" in capsys.readouterr().err


KEPT_TODAY = {name: {**client, "tests": {"passed": 1}} for name, client in KEPT.get("today", {}).items()}
LESS = {"version": "1", "tests": {"passed": 1}, "endpoints": {}}
