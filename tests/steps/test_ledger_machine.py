"""Whatever tasks, threads, forks, exits, cancellations, broken streams, interrupts and sinks that raise do: the ledger adds
up to what was handed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from collections import Counter
from contextvars import copy_context
from threading import Thread
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import consumes, invariant, multiple, precondition, rule

import otel_harn_steps as harn
from otel_harn_steps import CallRow, CompletedStep
from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.testing import ReplayServer
from tests.guard.interrupting import Lines
from tests.provider import INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK
from tests.steps.calls_machine import CallsMachine

pytestmark = [pytest.mark.interrupts, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]
TOKENS = st.integers(min_value=1, max_value=9)


class Moody:
    """A sink that raises at times."""

    def __init__(self) -> None:
        self.raises = False

    def call_sent(self, what: object) -> None:
        if self.raises:
            raise OSError("the sink's own")

    call_settled = step_started = step_ended = call_sent


def interrupt() -> None:
    raise KeyboardInterrupt


class LedgerMachine(CallsMachine):
    """What the provider handed out is kept, to be compared in the end."""

    streams, tasks = CallsMachine.streams, CallsMachine.tasks

    def __init__(self) -> None:
        self.moody = Moody()
        super().__init__(self.moody)
        self.steps: list[Any] = []
        self.threads: list[Thread] = []
        self.known = Counter[str]()
        self.in_children = Counter[str]()
        self.may_stay_open = set[str]()
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

    @rule(tokens=TOKENS)
    def call_in_a_forked_child(self, tokens: int) -> None:
        self.let_threads_end()  # one in the middle of a call would leave the client's own locks held
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                self.ledger.events.clear()
                self.llm.ask(tokens, 4)
                news = [(kind, each.to_dict()) for kind, each in self.ledger.events if kind != "started"]
                os.write(writing, json.dumps(news).encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            news = json.load(pipe)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for kind, values in news:
            made: Any = CompletedStep if kind == "ended" else CallRow
            self.ledger.events.append((kind, made.from_dict(values)))
        self.completed(tokens, 4)
        self.in_children.update(calls=1, input=tokens, output=4)
        if not self.steps:
            self.in_children.update(outside=tokens)

    @rule(tokens=TOKENS, at=st.integers(0, 400))
    def interrupt_a_call(self, tokens: int, at: int) -> None:
        self.let_threads_end()
        gc.collect()  # what else is freed is not interrupted,
        finish_freed()
        before = len(self.ledger.events)
        with contextlib.suppress(KeyboardInterrupt):
            Lines(at, interrupt, room="_calls/").run(lambda: self.llm.ask(tokens, 5))
        gc.collect()  # and what this leaves is settled here, and not in a later example
        finish_freed()
        news = self.ledger.events[before:]
        settled = {row.call_id: row for kind, row in news if kind == "settled"}
        for row in settled.values():
            if row.certainty == "measured":
                self.completed(tokens, 5)
        # One that is interrupted before its answer is read: nobody knows what it says.
        self.may_stay_open.update({row.call_id for kind, row in news if kind == "sent"} - settled.keys())

    @rule(raises=st.booleans())
    def change_the_sinks_mood(self, raises: bool) -> None:
        self.moody.raises = raises

    @rule(target=tasks, tokens=TOKENS)
    def begin_a_task(self, tokens: int) -> Any:
        task = self.loop.create_task(self.llm.ask_async(tokens, 3))
        self.begun.append(task)
        return task

    @rule(task=consumes(tasks))
    def finish_a_task(self, task: asyncio.Task[Any]) -> None:
        self.loop.run_until_complete(task)

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

    def let_threads_end(self) -> None:
        for thread in self.threads:
            thread.join()

    def teardown(self) -> None:
        self.let_threads_end()
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
        super().teardown()

    def what_holds_in_the_end(self) -> None:
        records: list[CompletedStep] = self.ledger.of("ended")
        rows: list[CallRow] = self.ledger.of("settled")
        cost, cost_in_children = cost_of(self.known), cost_of(self.in_children)
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
        in_run = run.input_tokens + self.in_children["outside"]
        assert sum(each.input_tokens for each in records) + in_run == self.known["input"]
        # Own spend is the totals at the root; the split by model is own spend.
        roots = [record for record in records if record.parent_id is None]
        assert sum(round(record.total_cost_usd * 10**12) for record in roots) == own
        assert sum(round(each.cost_usd * 10**12) for record in records for each in record.by_model) == own
        assert run.subtree.cost_picousd == cost - cost_in_children
        # Nothing is in flight but what the app still holds, and nothing was counted twice.
        settled = {row.call_id for row in rows}
        still_open = {row.call_id for row in self.ledger.of("sent")} - settled
        here, in_children = run.subtree.llm_calls, self.in_children["calls"]
        assert here - run.subtree.unmetered_calls + in_children == self.known["calls"]
        assert here + in_children == sum(row.outcome in BILLED for row in rows)
        assert still_open <= self.may_stay_open


def cost_of(tokens: Counter[str]) -> int:
    return (tokens["input"] * INPUT_USD_PER_MTOK + tokens["output"] * OUTPUT_USD_PER_MTOK) * 10**6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_ledger_adds_up(replay: ReplayServer) -> None:
    gc.freeze()  # so that collections look only at what comes from here on
    try:
        LedgerMachine.check(replay, 40)
    finally:
        gc.unfreeze()
