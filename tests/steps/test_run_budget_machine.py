"""Whatever the processes of a run call, settle, fail, or leave undone when they are killed: the run's budget lets through
what it has room for, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import IO, Any

import httpx
import openai
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, StepBudgetStop
from otel_harn_steps._steps.program_run import RUN_BUDGET
from otel_harn_steps._steps.shared_budget import SharedBudget
from tests.instrumented import instrumented
from tests.provider import PRICES
from tests.steps.budget_model import NOTHING, OFF_BY, Amount, ModelStep, amount_of
from tests.steps.calls_machine import examples
from tests.steps.held_calls import Answer, estimate_of, request_of, response_of

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
ROOMY = 300
LIMITS = st.fixed_dictionaries(
    {"on_contention": st.sampled_from(["wait", "refuse"]), "wait_seconds": st.just(0.002)},
    optional={
        "max_tokens": st.integers(100, 300),
        "max_usd": st.integers(50, 150).map(lambda each: each / 100_000),
        "max_input_tokens": st.integers(30, 100),
        "max_output_tokens": st.integers(80, ROOMY),
        "max_calls": st.integers(3, 10),
    },
).filter(lambda limits: 2 < len(limits) < 5)
CAPS = st.integers(1, 60)
CHILDREN = st.integers(0, 2)
ANSWERS = st.tuples(st.integers(-OFF_BY, OFF_BY), st.sampled_from([0.0, 0.5, 1.0]))


class Child:
    """A process that makes one call after the other, as it is told.

    Attributes:
        last_input: how many input tokens its last call had.
        in_flight: the maximum of output tokens of its call. None: it makes none.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        self.last_input = 0
        self.in_flight: int | None = None
        here, there = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                signal.alarm(120)  # whatever becomes of the test
                _work(client, there.makefile("rw", encoding="utf-8", newline="\n"))
            os._exit(1)
        there.close()
        self._pipe = here.makefile("rw", encoding="utf-8", newline="\n")
        here.close()

    def tell(self, what: Any) -> None:
        """The maximum of the call to make; or the answer to the one it makes, None for a failure."""
        _write(self._pipe, what)

    def asked(self, what: Any) -> Any:
        """What it says to that: "sent", "refused", "failed", "ended", or "breach"."""
        self.tell(what)
        return json.loads(self._pipe.readline())

    def kill(self) -> None:
        """`kill -9`."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._pipe.close()


class _Pipe(httpx.BaseTransport):
    """A provider whose answers come from the process above."""

    pipe: IO[str]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _write(self.pipe, "sent")
        answer = json.loads(self.pipe.readline())
        return response_of(None if answer is None else Answer(*answer))


def _write(pipe: IO[str], what: Any) -> None:
    pipe.write(json.dumps(what) + "\n")
    pipe.flush()


def _work(client: openai.OpenAI, pipe: IO[str]) -> None:
    _Pipe.pipe = pipe
    while line := pipe.readline():
        said = "ended"
        try:
            client.chat.completions.create(**request_of(json.loads(line)))
        except (StepBudgetExceeded, StepBudgetStop) as error:
            exceeded = error.error if isinstance(error, StepBudgetStop) else error
            said = "refused" if exceeded.response is None else "breach"
        except openai.InternalServerError:
            said = "failed"
        _write(pipe, said)


class RunBudgetMachine(RuleBasedStateMachine):
    """Three processes of one run; one that is killed is followed by another."""

    def __init__(self) -> None:
        super().__init__()
        harn.reset_steps()
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(instrumented(prices=PRICES))
        self.client = openai.OpenAI(
            api_key="test", max_retries=0, http_client=httpx.Client(transport=_Pipe(), trust_env=False)
        )
        self.children: dict[int, Child] = {}
        self.at_once = 0

    @initialize(limits=LIMITS)
    def begin(self, limits: dict[str, Any]) -> None:
        self.model = ModelStep(harn.Budget(preflight="reserve", **limits), "tree", None)
        self.estimate = estimate_of(self.client)
        self.stack.enter_context(harn.run("machine", **limits))
        self.shared = SharedBudget(json.loads(os.environ[RUN_BUDGET])["file"])
        self.stack.callback(self.shared.close)

    def child(self, number: int) -> Child:
        if number not in self.children:
            self.children[number] = Child(self.client)
        return self.children[number]

    # -- calls ---------------------------------------------------------------------------------------------------------

    @rule(caps=st.lists(CAPS, min_size=1, max_size=3))
    def call_at_once(self, caps: list[int]) -> None:
        for number, cap in enumerate(caps):
            self.call(number, cap)

    def call(self, number: int, cap: int) -> None:
        child = self.child(number)
        if child.in_flight is None:
            self.model.last_input = child.last_input
            verdict = self.model.admit(cap, self.estimate, may_wait=False)
            assert child.asked(cap) == verdict.word
            if verdict.word == "sent":
                child.in_flight, self.model.held[child] = cap, verdict.holds
                self.at_once = len(self.model.held)
            elif not verdict.is_contended:
                self.model.exhausted_by = self.model.exhausted_by or verdict.limit

    @rule(number=CHILDREN, answer=ANSWERS)
    def answer(self, number: int, answer: tuple[int, float]) -> None:
        child = self.child(number)
        if child.in_flight is not None:
            given = self.answer_to(child, answer)
            self.has_ended(child)
            raises = self.model.settle(amount_of(*given))
            assert child.asked(given) == ("breach" if raises else "ended")
            child.last_input = given.input_tokens

    @rule(number=CHILDREN)
    def fail(self, number: int) -> None:
        child = self.child(number)
        if child.in_flight is not None:
            self.has_ended(child)
            assert child.asked(None) == "failed"

    @rule(number=CHILDREN, cap=CAPS, answer=ANSWERS, is_told=st.booleans())
    def kill(self, number: int, cap: int, answer: tuple[int, float], is_told: bool) -> None:
        """At rest, or in the middle of a call; or at some moment of its beginning, or of its end."""
        child = self.child(number)
        is_answered = is_told and child.in_flight is not None
        may_have_spent = amount_of(*self.answer_to(child, answer)) if is_answered else NOTHING
        if is_told:
            child.tell(may_have_spent[:2] if is_answered else cap)
        child.kill()
        del self.children[number]
        self.has_ended(child)
        if self.spent() != self.model.spent:
            self.model.settle(may_have_spent)
            assert self.spent() == self.model.spent
        if is_told:
            self.model.exhausted_by = self.shared.totals().ended_by

    def has_ended(self, child: Child) -> None:
        child.in_flight = None
        self.model.held.pop(child, None)

    def answer_to(self, child: Child, answer: tuple[int, float]) -> Answer:
        error, share = answer
        assert child.in_flight is not None
        return Answer(self.estimate + error, int(child.in_flight * share))

    def spent(self) -> Amount:
        return Amount(*self.shared.totals().spent)

    # -- what holds ----------------------------------------------------------------------------------------------------

    @invariant()
    def it_adds_up_within_the_limits_but_for_the_error_of_the_estimates(self) -> None:
        totals, held = self.shared.totals(), NOTHING.plus(*self.model.held.values())
        assert Amount(*totals.spent) == self.model.spent
        assert (totals.ended_by is None) == (self.model.exhausted_by is None)
        assert min(Amount(*totals.reserved).minus(held)) >= 0
        may_be_wrong = amount_of(OFF_BY * self.at_once, 0)._replace(calls=0)
        assert self.model.spent.plus(held).minus(may_be_wrong).crosses(self.model.budget) is None

    def teardown(self) -> None:
        with self.stack:
            for child in self.children.values():
                child.kill()
            self.children.clear()
            self.model.held.clear()
            self.what_the_killed_have_held_is_there_again()

    def what_the_killed_have_held_is_there_again(self) -> None:
        self.model.last_input = 0
        fitting = [cap for cap in range(1, ROOMY) if self.model.admit(cap, self.estimate).word == "sent"]
        if fitting:
            last = Child(self.client)
            said = last.asked(fitting[-1])
            last.kill()
            assert said == "sent"


TestRunBudget = RunBudgetMachine.TestCase
TestRunBudget.settings = examples(8, steps=22)
