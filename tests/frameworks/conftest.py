"""What the tests of every step source ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

import otel_harn_steps
from otel_harn_steps import CompletedStep
from tests.frameworks.stand_in import Provider
from tests.replay.server import ReplayServer

_T = TypeVar("_T")
_LOOP = asyncio.new_event_loop()


def waited(work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work in the one event loop of all tests: some frameworks keep connections for longer than a test."""
    return _LOOP.run_until_complete(work)


def names_in(*owners: Any) -> list[dict[str, int]]:
    """What modules and classes have, by identity: a wrapper says that it is equal to what it wraps."""
    return [{name: id(value) for name, value in vars(owner).items()} for owner in owners]


@pytest.fixture(scope="session")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


@pytest.fixture
def provider(server: ReplayServer, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider of the test's own, to which clients go by themselves."""
    provider = Provider(server)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    return provider


@pytest.fixture
def steps() -> Iterator[Callable[[], list[CompletedStep]]]:
    """`instrument()` with every framework; called, the steps that have ended since."""
    otel_harn_steps.reset_steps()
    otel_harn_steps.instrument(frameworks="auto")
    yield otel_harn_steps.drain_completed_steps
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()


@pytest.fixture
def declare() -> Callable[..., None]:
    """Declares a budget, a boundary, a model for the framework's step of a name."""

    def declare(name: str, **metadata: object) -> None:
        otel_harn_steps.register_step_from_dict(name, metadata)

    return declare


def told(records: list[CompletedStep]) -> list[tuple[str, str, int, int, int]]:
    """Of each step: path, status, calls, input and output tokens."""
    return [
        (record.path, record.status, record.llm_calls, record.input_tokens, record.output_tokens) for record in records
    ]
