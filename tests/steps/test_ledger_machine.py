"""Whatever tasks, threads, exits, cancellations and broken streams do: the ledger adds up to what was handed out."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import copy_context
from threading import Thread
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

import otel_harn_steps as harn
from otel_harn_steps import CallRow, CompletedStep
from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK, PRICES, Provider, provider
from tests.steps.sinks import Ledger

TOKENS = st.integers(min_value=1, max_value=9)


class LedgerMachine(RuleBasedStateMachine):
    """Steps are entered and left like a stack; calls and streams live as long as they like."""

    server: ReplayServer
    streams = Bundle("streams")
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        harn.reset_steps()
        self.ledger = Ledger()
        self._instrumented = instrumented(sinks=[self.ledger], prices=PRICES)
        self._instrumented.__enter__()
        self._provider = provider(self.server)
        self.llm: Provider = self._provider.__enter__()
        self._run = harn.run("machine")
        self.run = self._run.__enter__()
        self.loop = asyncio.new_event_loop()
        self.steps: list[Any] = []
        self.threads: list[Thread] = []
        self.known = Counter[str]()
        self.begun: list[asyncio.Task[Any]] = []
        self.opened: list[Any] = []

    def completed(self, input_tokens: int, output_tokens: int) -> None:
        self.known.update(calls=1, input=input_tokens, output=output_tokens)

    # -- steps ---------------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 3))
    def enter(self, number: int) -> None:
        entered = harn.step(f"step {number}")
        entered.__enter__()
        self.steps.append(entered)

    @precondition(lambda self: self.steps)
    @rule()
    def leave(self) -> None:
        self.steps.pop().__exit__(None, None, None)

    @precondition(lambda self: self.steps)
    @rule()
    def fail(self) -> None:
        error = ValueError("the app's own")
        assert not self.steps.pop().__exit__(ValueError, error, None)

    # -- calls ---------------------------------------------------------------------------------------------------------

    @rule(tokens=TOKENS)
    def call(self, tokens: int) -> None:
        self.llm.ask(tokens, 1)
        self.completed(tokens, 1)

    @rule(tokens=TOKENS)
    def call_in_a_thread(self, tokens: int) -> None:
        thread = Thread(target=copy_context().run, args=(self.llm.ask, tokens, 2))
        thread.start()
        self.threads.append(thread)
        self.completed(tokens, 2)

    @rule(target=tasks, tokens=TOKENS)
    def begin_a_task(self, tokens: int) -> Any:
        task = self.loop.create_task(self.llm.ask_async(tokens, 3))
        self.begun.append(task)
        return task

    @rule(task=consumes(tasks))
    def finish_a_task(self, task: asyncio.Task[Any]) -> None:
        self.loop.run_until_complete(task)

    @rule(task=consumes(tasks), ticks=st.integers(0, 20))
    def cancel_a_task(self, task: asyncio.Task[Any], ticks: int) -> None:
        for _ in range(ticks):
            self.loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        self.loop.run_until_complete(asyncio.wait([task]))

    # -- streams -------------------------------------------------------------------------------------------------------

    @rule(target=streams, tokens=TOKENS, words=TOKENS)
    def open_a_stream(self, tokens: int, words: int) -> Any:
        stream = self.llm.ask(tokens, words, stream=True)
        self.opened.append(stream)
        return stream, tokens, words

    @rule(target=streams, stream=consumes(streams), events=st.integers(1, 4))
    def read_some(self, stream: Any, events: int) -> Any:
        opened, tokens, words = stream
        for _ in range(events):
            if next(opened, None) is None:
                self.completed(tokens, words)
                return multiple()
        return stream

    @rule(stream=consumes(streams))
    def read_to_the_end(self, stream: Any) -> None:
        opened, tokens, words = stream
        for _ in opened:
            pass
        self.completed(tokens, words)

    @rule(stream=consumes(streams))
    def close_a_stream(self, stream: Any) -> None:
        stream[0].close()

    # -- what holds ------------------------------------------------------------------------------------------------------

    @invariant()
    def a_call_is_sent_once_and_settled_once(self) -> None:
        for kind in ("sent", "settled"):
            ids = Counter(row.call_id for row in self.ledger.of(kind))
            assert not ids or max(ids.values()) == 1, kind

    def teardown(self) -> None:
        for thread in self.threads:
            thread.join()
        while self.steps:
            self.steps.pop().__exit__(None, None, None)
        for task in self.begun:
            task.cancel()
        if self.begun:
            self.loop.run_until_complete(asyncio.wait(self.begun))
        for task in self.begun:
            if not task.cancelled():
                usage = task.result().usage
                self.completed(usage.prompt_tokens, usage.completion_tokens)
        self.begun.clear()
        for stream in self.opened:  # hypothesis holds them: they are not collected
            stream.close()
        self._run.__exit__(None, None, None)
        try:
            self.check()
        finally:
            self._provider.__exit__(None, None, None)
            self._instrumented.__exit__(None, None, None)
            self.loop.close()

    def check(self) -> None:
        records: list[CompletedStep] = self.ledger.of("ended")
        rows: list[CallRow] = self.ledger.of("settled")
        cost = (self.known["input"] * INPUT_USD_PER_MTOK + self.known["output"] * OUTPUT_USD_PER_MTOK) * 10**6
        run = self.run
        # The rows are what was handed out, to the token and the pico-dollar.
        assert sum(row.input_tokens or 0 for row in rows) == self.known["input"]
        assert sum(row.output_tokens or 0 for row in rows) == self.known["output"]
        assert sum(row.cost_picousd or 0 for row in rows) == cost
        assert sum(row.certainty == "measured" for row in rows) == self.known["calls"]
        # So are the records and their amendments, with what no step claims.
        outside = [row for row in rows if row.step_id is None]
        own = sum(round(record.cost_usd * 10**12) for record in records)
        assert own + sum(row.cost_picousd or 0 for row in outside) == cost
        assert sum(each.input_tokens for each in records) + run.input_tokens == self.known["input"]
        # Own spend is the totals at the root; the split by model is own spend.
        roots = [record for record in records if record.parent_id is None]
        assert sum(round(record.total_cost_usd * 10**12) for record in roots) == own
        assert sum(round(each.cost_usd * 10**12) for record in records for each in record.by_model) == own
        assert run.subtree.cost_picousd == cost
        # Nothing is in flight but what the app still holds, and nothing was counted twice.
        settled = {row.call_id for row in rows}
        still_open = {row.call_id for row in self.ledger.of("sent")} - settled
        assert run.subtree.llm_calls - run.subtree.unmetered_calls == self.known["calls"]
        assert run.subtree.llm_calls == sum(row.outcome in BILLED for row in rows)
        assert not still_open


def test_the_ledger_adds_up(replay: ReplayServer) -> None:
    LedgerMachine.server = replay
    machine = LedgerMachine.TestCase
    machine.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        phases=[Phase.explicit, Phase.generate],  # an example is short enough as it is
        suppress_health_check=list(HealthCheck),
    )
    machine("runTest").runTest()
