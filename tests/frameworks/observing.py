"""What the tests of every framework look at."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from otel_harn_steps import CompletedStep

_T = TypeVar("_T")


_LOOP = asyncio.new_event_loop()


def waited(work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work in the one event loop of all tests: some frameworks keep connections for longer than a test."""
    return _LOOP.run_until_complete(work)


def names_in(*owners: Any) -> list[dict[str, int]]:
    """What modules and classes have, by identity: a wrapper says that it is equal to what it wraps."""
    return [{name: id(value) for name, value in vars(owner).items()} for owner in owners]


def rows(records: list[CompletedStep]) -> list[tuple[str, str, int, int, int]]:
    """Of each step: path, status, calls, input and output tokens."""
    return [
        (record.path, record.status, record.llm_calls, record.input_tokens, record.output_tokens) for record in records
    ]
