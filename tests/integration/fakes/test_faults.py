"""The public fakes and their faults: an app sees and sends with us what it sees and sends without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coexistence.matrix import ROOT
from tests.integration.fakes.aimock import aimock
from tests.integration.fakes.faults import AIMOCK_CALLS, LLMOCK_CALLS
from tests.integration.fakes.llmock import llmock

pytestmark = pytest.mark.slow

LLMOCK_CLIENTS = {
    "openai": "/v1",
    "responses": "/v1",
    "anthropic": "/anthropic",
    "google": "/gemini",
    "cohere": "/cohere",
    "mistral": "/mistral",
    "groq": "/groq",
    "together": "/together",
}
AIMOCK_CLIENTS = {"openai": "/v1", "responses": "/v1", "anthropic": "", "google": "", "cohere": "", "mistral": ""}

UNTOLD = {"mistral stream", "groq stream", "together stream"}
"""Streams in which the fakes do not report usage."""

Said = dict[str, dict[str, Any]]


def ran(fake: str, url: str, clients: Mapping[str, str], calls: Sequence[Any], way: str) -> Said:
    """What the app said that it saw, by call."""
    plan = {"fake": fake, "url": url, "clients": clients, "calls": calls}
    environment = {**os.environ, "ANTHROPIC_OPEN_TELEMETRY": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.fakes.app", way],
        check=False,
        cwd=ROOT,
        env=environment,
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {said.pop("key"): said for said in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module", params=["llmock", "aimock"])
def both(request: pytest.FixtureRequest) -> tuple[Said, Said]:
    """The same app without us and with us, each over a fake of its own."""
    fake = request.param
    clients, calls = (LLMOCK_CLIENTS, LLMOCK_CALLS) if fake == "llmock" else (AIMOCK_CLIENTS, AIMOCK_CALLS)
    with ExitStack() as running, ThreadPoolExecutor(2) as processes:
        urls = [
            running.enter_context(
                llmock() if fake == "llmock" else aimock(Path(__file__).with_name("answers.json"))
            ).url
            for _ in range(2)
        ]
        without, with_us = (
            processes.submit(ran, fake, url, clients, calls, way)
            for url, way in zip(urls, ("without", "with"), strict=True)
        )
        return without.result(), with_us.result()


def test_the_app_sees_and_sends_the_same(both: tuple[Said, Said]) -> None:
    without, with_us = both
    assert without.keys() == with_us.keys()
    differ = {
        key: (without[key], with_us[key])
        for key in without
        if (without[key]["seen"], without[key]["sent"]) != (with_us[key]["seen"], with_us[key]["sent"])
    }
    assert not differ


def test_we_have_nothing_to_complain_of(both: tuple[Said, Said]) -> None:
    assert {key: said["heard"] for key, said in both[1].items() if said["heard"]} == {}


def test_what_broke_is_one_unmetered_call_and_what_was_refused_is_none(both: tuple[Said, Said]) -> None:
    wrong = {key: said for key, said in both[1].items() if not _is_right(key, said)}
    assert not wrong


def _is_right(key: str, said: dict[str, Any]) -> bool:
    client, *called, kind, _ = key.split()
    calls, unmetered, input_tokens, output_tokens = said["billed"]
    if all(status >= 400 for _, status in said["sent"]):
        return said["billed"] == [0, 0, 0, 0]
    raised = any(isinstance(seen, dict) for seen in said["seen"])
    if raised or not said["seen"] or called == ["truncate"] or f"{client} {kind}" in UNTOLD:
        return (calls, unmetered, output_tokens) == (1, 1, 0)
    return (calls, unmetered) == (1, 0) and input_tokens > 0 and output_tokens > 0
