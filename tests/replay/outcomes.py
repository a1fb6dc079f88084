"""The same call made twice, bare and inside a step, and what came of both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import Answer, Script
from tests.replay.clients import Clients
from tests.replay.runs import Run, Trip, travel

Instrument = Callable[..., AbstractContextManager[ModuleType]]
"""Opens a stretch of code in which our package is at work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`left` is what left the step: None if the step ended quietly. What the call raised inside it is in `ours.seen`."""

    trip: Trip
    bare: Run
    ours: Run
    left: Exception | None
    record: Any


@dataclass(frozen=True, slots=True)
class Twice:
    """Makes calls twice: bare, and inside a step."""

    clients: Clients
    server: ReplayServer
    instrumented: Instrument

    def __call__(
        self,
        trip: Trip,
        *script: Answer | Script,
        max_retries: int = 0,
        settings: dict[str, Any] | None = None,
        budget: dict[str, Any] | None = None,
    ) -> Outcome:
        bare = self.clients.mode.run(travel(trip, self.clients, self.server, *script, max_retries=max_retries))
        with self.instrumented(**(settings or {})) as steps:
            ours: list[Run] = []
            left: list[Exception] = []

            async def in_a_step() -> None:
                try:
                    with steps.step("s", **(budget or {})):
                        ours.append(await travel(trip, self.clients, self.server, *script, max_retries=max_retries))
                except steps.StepBudgetExceeded as error:
                    left.append(error)

            self.clients.mode.run(in_a_step())
            (record,) = steps.drain_completed_steps()
        return Outcome(trip, bare, ours[0], left[0] if left else None, record)
