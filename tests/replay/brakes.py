"""Recorded streams whose last piece never comes: whoever reads them is stopped by a budget, or waits in vain."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._cost.estimate import generated, output_tokens
from otel_harn_steps.testing import Answer, Exchange, ReplayServer
from otel_harn_steps.testing._modes import Mode, uncollected
from tests.replay.answers import recorded
from tests.replay.cases import Case


def held(case: Case) -> Answer:
    """All of the recorded stream but its last piece; then the server waits until the client has gone."""
    return replace(recorded(case), held=True)


def limits_of(case: Case) -> list[int]:
    """Budgets of output tokens that stop the stream at its beginning, in its middle, and at its end. None: no text."""
    reached: list[int] = []
    size = more = events = 0
    for chunk in recorded(case).chunks[:-1]:
        for found in map(generated, _decoded(chunk)):
            size, more, events = size + found.size, more + found.more, events + bool(found.text)
            reached.append(output_tokens(size, events, more))
    last = max(reached, default=0) - 1
    return sorted({1, max(1, last // 2), last}) if last > 0 else []


def _decoded(chunk: bytes) -> list[Any]:
    found = []
    for line in chunk.splitlines():
        try:
            found.append(json.loads(line.removeprefix(b"data:")))
        except ValueError:
            continue
    return found


_TURNS = 10


@dataclass(frozen=True, slots=True)
class Braked:
    """What came of a stream that a budget of output tokens was to stop."""

    limit: int
    was_left: bool
    raised: BaseException | None
    left: StepBudgetExceeded | None
    record: Any
    open_calls: int
    warned: list[str]

    def check(self, *, is_closed: bool = True) -> None:
        """Assert that it was stopped, closed, billed once, and that nothing is left of it."""
        assert self.warned == []
        assert self.left is not None, self.raised
        assert not is_closed or self.was_left
        assert self.left.limit == "max_output_tokens"
        assert isinstance(self.left.partial, str)
        assert self.left.partial or self.record.output_tokens > self.limit  # thoughts that only the provider counts
        assert (self.record.llm_calls, self.record.status) == (1, "failed")
        assert self.record.estimated_tokens + self.record.output_tokens > self.limit
        assert self.open_calls == 0


@dataclass(frozen=True, slots=True)
class Brakes:
    """Makes calls whose streams a budget is to stop."""

    mode: Mode
    server: ReplayServer
    steps: ModuleType
    caplog: pytest.LogCaptureFixture

    def __call__(
        self,
        limit: int,
        case: Case,
        opens: Callable[[str], AbstractContextManager[Any]],
        go: Callable[[Any], Awaitable[None]],
        **budget: Any,
    ) -> Braked:
        """Call `go` with the client that `opens` opens at an address, in a step with a budget of output tokens."""
        with self.opened(case, opens) as braked:
            return braked(limit, go, **budget)

    @contextmanager
    def opened(
        self, case: Case, opens: Callable[[str], AbstractContextManager[Any]]
    ) -> Iterator[Callable[..., Braked]]:
        """Makes any number of such calls, with one client: `(limit, go, **budget)`."""
        exchange = self.server.serve(held(case))
        with opens(f"{self.server.address}/{exchange.token}") as client:
            yield partial(self._brake, exchange, client)

    def _brake(
        self, exchange: Exchange, client: Any, limit: int, go: Callable[[Any], Awaitable[None]], **budget: Any
    ) -> Braked:
        exchange.left.clear()
        left: list[StepBudgetExceeded] = []
        raised: list[BaseException] = []
        opened: list[Any] = []

        async def work() -> None:
            try:
                with self.steps.step("s", max_output_tokens=limit, **{"stop_streams": True, **budget}) as active:
                    opened.append(active)
                    try:
                        await go(client)
                    except Exception as error:  # noqa: BLE001 -- looked at by the test
                        raised.append(error)
            except StepBudgetExceeded as error:
                left.append(error)
            for _ in range(_TURNS if self.mode.name == "async" else 0):
                await asyncio.sleep(0)  # some clients leave it to the event loop to close what they have dropped

        with self.caplog.at_level(logging.WARNING, "otel_harn_steps"), uncollected():
            self.mode.run(work())
        (record,) = self.steps.drain_completed_steps()
        return Braked(
            limit,
            exchange.was_left(),  # before the client itself is closed
            raised[0] if raised else None,
            left[0] if left else None,
            record,
            opened[0].open_calls,
            [text for each in self.caplog.records if "failed while" in (text := each.getMessage())],
        )
