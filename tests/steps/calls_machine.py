"""What the machines have in common that call a provider: a run, a loop, calls and streams in flight."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

import otel_harn_steps as harn
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider
from tests.steps.sinks import Ledger


def examples(count: int, steps: int) -> settings:
    """So many examples of at most so many steps."""
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # an example is short enough as it is
        suppress_health_check=list(HealthCheck),
    )


class CallsMachine(RuleBasedStateMachine):
    """Steps are entered and left like a stack; calls and streams live as long as they like."""

    server: ReplayServer
    streams = Bundle("streams")
    tasks = Bundle("tasks")

    def __init__(self, *sinks: object) -> None:
        super().__init__()
        harn.reset_steps()
        self.ledger = Ledger()
        self._instrumented = instrumented(sinks=[*sinks, self.ledger], prices=PRICES)
        self._instrumented.__enter__()
        self._provider = provider(self.server)
        self.llm: Provider = self._provider.__enter__()
        self._run = harn.run("machine")
        self.run = self._run.__enter__()
        self.loop = asyncio.new_event_loop()

    @classmethod
    def check(cls, server: ReplayServer, count: int) -> None:
        """Try so many examples against the server."""
        cls.server = server
        cls.TestCase.settings = examples(count, steps=25)
        cls.TestCase("runTest").runTest()

    @rule(task=consumes(tasks), ticks=st.integers(0, 20))
    def cancel_a_task(self, task: asyncio.Task[Any], ticks: int) -> None:
        for _ in range(ticks):
            self.loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        self.loop.run_until_complete(asyncio.wait([task]))
        self.has_ended(task)

    def has_ended(self, call: Any) -> None:
        """A task or a stream is not in flight any more."""

    def what_holds_in_the_end(self) -> None:
        """Look at everything, when the run has ended."""
        raise NotImplementedError

    def teardown(self) -> None:
        self._run.__exit__(None, None, None)
        try:
            self.what_holds_in_the_end()
        finally:
            self._provider.__exit__(None, None, None)
            self._instrumented.__exit__(None, None, None)
            self.loop.close()
