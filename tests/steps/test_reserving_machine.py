"""Whatever tasks and threads ask for, however wrong it is estimated, whatever fails, is cancelled, left or raised: budgets
let through what they have room for, to the token and the pico-dollar, and no wait is longer than it may be.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import otel_harn_steps as harn
from otel_harn_steps import Budget, StepBudgetExceeded
from tests.instrumented import instrumented
from tests.provider import PRICES
from tests.steps.budget_model import INPUT_PICOUSD, NOTHING, OFF_BY, Amount, ModelStep, Verdict, amount_of
from tests.steps.calls_machine import examples
from tests.steps.held_calls import Answer, Calls, HeldCall

MOST_AT_ONCE = 6
LIMITS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(60, 250),
    "max_usd": st.integers(20, 120).map(lambda each: each / 100_000),
    "max_input_tokens": st.integers(20, 80),
    "max_output_tokens": st.integers(60, 200),
    "max_calls": st.integers(2, 6),
    "max_cost_per_call": st.integers(20, 50).map(lambda each: each / 100_000),
}
HOW: dict[str, st.SearchStrategy[Any]] = {
    "preflight": st.sampled_from(["reserve"] * 5 + ["exhausted"]),
    "on_contention": st.sampled_from(["wait", "wait", "wait", "refuse"]),
    "wait_seconds": st.sampled_from([2.5, 60.0]),
    "cap_output": st.sampled_from([False, False, True]),
    "hard_stop_after": st.just(10**6),
}
BUDGETS = (
    st.sets(st.sampled_from([*LIMITS, "max_usd", "max_tokens"]), min_size=1, max_size=2)
    .flatmap(lambda names: st.fixed_dictionaries({**HOW, **{name: LIMITS[name] for name in sorted(names)}}))
    .map(lambda given: Budget(**given))
)
CAPS = st.integers(1, 40)
ERRORS = st.integers(-OFF_BY, OFF_BY)
SHARES = st.sampled_from([0.0, 0.5, 1.0, 1.0])
PICKS = st.integers(0, MOST_AT_ONCE)


class ReservingMachine(RuleBasedStateMachine):
    """Steps are entered and left like a stack; calls are answered in any order."""

    def __init__(self) -> None:
        super().__init__()
        harn.reset_steps()
        self.stack = ExitStack()
        self.stack.enter_context(instrumented(prices=PRICES))
        self.calls = Calls()
        self.stack.enter_context(self.calls.at_work())
        self.entered: list[Any] = []
        self.steps: list[ModelStep] = []
        self.active: dict[ModelStep, Any] = {}
        self.of: dict[HeldCall, ModelStep] = {}
        self.sent: list[HeldCall] = []
        self.waiting: dict[HeldCall, float] = {}
        self.at_once: dict[ModelStep, int] = {}

    # -- steps ---------------------------------------------------------------------------------------------------------

    @initialize(budget=BUDGETS)
    def begin(self, budget: Budget) -> None:
        self.enter(budget, "tree")

    @precondition(lambda self: len(self.entered) < 3)
    @rule(budget=BUDGETS, scope=st.sampled_from(["step", "tree"]))
    def enter(self, budget: Budget, scope: Any) -> None:
        entered = harn.step(f"step {len(self.entered)}", budget=budget, scope=scope)
        active = entered.__enter__()
        self.entered.append(entered)
        self.steps.append(ModelStep(budget, scope, self.steps[-1] if self.steps else None))
        self.active[self.steps[-1]] = active

    @precondition(lambda self: len(self.entered) > 1)
    @rule()
    def leave(self) -> None:
        self.leave_innermost()
        self.look()

    def leave_innermost(self) -> None:
        with suppress(StepBudgetExceeded):
            self.entered.pop().__exit__(None, None, None)
        self.steps.pop().is_living = False
        self.calls.settle_down()

    @rule(pick=PICKS, factor=st.sampled_from([1, 1.25, 2]), data=st.data())
    def raise_a_budget(self, pick: int, factor: float, data: st.DataObject) -> None:
        raised = self.steps[pick % len(self.steps)]
        limits = [name for name in raised.budget.given() if name.startswith("max_")]
        if limits:
            name = data.draw(st.sampled_from(limits))
            value = getattr(raised.budget, name) * factor
            self.active[raised].raise_budget(**{name: value})
            raised.raised(replace(raised.budget, **{name: value}))
            self.calls.settle_down()
            self.look()

    # -- calls ---------------------------------------------------------------------------------------------------------

    @rule(caps=st.lists(CAPS, min_size=1, max_size=4), in_threads=st.booleans())
    def begin_calls(self, caps: list[int], in_threads: bool) -> None:
        for cap in caps[: MOST_AT_ONCE - len(self.of)]:
            self.begin_a_call(cap, in_threads)

    def begin_a_call(self, cap: int, in_thread: bool) -> None:
        step = self.steps[-1]
        verdict = step.admit(cap, self.calls.estimate)
        call = self.calls.in_thread(cap) if in_thread else self.calls.in_task(cap)
        self.of[call] = step
        if verdict.word == "waits":
            assert call.state == "waiting"
            assert verdict.by is not None
            self.waiting[call] = self.calls.clock.now_s + verdict.by.budget.wait_seconds
        else:
            self.has_become(call, verdict)

    @rule(cap=CAPS, error=ERRORS, share=SHARES)
    def call_where_none_may_wait(self, cap: int, error: int, share: float) -> None:
        step = self.steps[-1]
        verdict = step.admit(cap, self.calls.estimate, may_wait=False)
        answer = Answer(self.calls.estimate + error, int(verdict.cap * share))
        call = self.calls.within_loop(cap, answer)
        self.of[call] = step
        self.has_become(call, verdict)
        if call.sent_cap is not None:
            self.has_ended(call, amount_of(*answer))
        self.look()

    @precondition(lambda self: self.sent)
    @rule(pick=PICKS, error=ERRORS, share=SHARES)
    def answer_a_call(self, pick: int, error: int, share: float) -> None:
        call = self.sent[pick % len(self.sent)]
        assert call.sent_cap is not None
        answer = Answer(self.calls.estimate + error, int(call.sent_cap * share))
        self.calls.answer(call, answer)
        self.has_ended(call, amount_of(*answer))
        self.look()

    @precondition(lambda self: self.sent)
    @rule(pick=PICKS)
    def fail_a_call(self, pick: int) -> None:
        call = self.sent[pick % len(self.sent)]
        self.calls.answer(call, None)
        self.has_ended(call, NOTHING)
        self.look()

    @precondition(lambda self: any(call.task for call in self.of))
    @rule(pick=PICKS)
    def cancel_a_call(self, pick: int) -> None:
        tasks = [call for call in self.of if call.task is not None]
        call = tasks[pick % len(tasks)]
        self.calls.cancel(call)
        if self.waiting.pop(call, None) is None:
            # Nobody knows what it has spent: a budget takes its input to be paid for.
            estimate = self.calls.estimate if self.of[call].is_counted else 0
            self.has_ended(call, Amount(0, 0, estimate * INPUT_PICOUSD, 1, estimate))
        else:
            self.of.pop(call)
        self.look()

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.calls.advance(seconds)
        self.look()

    # -- what becomes of them ------------------------------------------------------------------------------------------

    def has_become(self, call: HeldCall, verdict: Verdict) -> None:
        """A call was sent, or was refused, as it had to be."""
        is_sent = call.sent_cap is not None
        assert verdict.word == ("sent" if is_sent else "refused")
        if is_sent:
            assert call.sent_cap == verdict.cap
            self.sent.append(call)
            for each in self.of[call].covering():
                each.held[call] = verdict.holds
                self.at_once[each] = len(each.held)
        else:
            assert isinstance(call.error, StepBudgetExceeded)
            call.error.accept()
            self.of.pop(call).refused(verdict)

    def has_ended(self, call: HeldCall, spent: Amount) -> None:
        """A call has ended that was sent."""
        assert call.state == "ended"
        self.sent.remove(call)
        step, is_estimated = self.of.pop(call), False
        for each in step.lineage():
            is_estimated |= each.held.pop(call, NOTHING).picousd > 0
        if spent != NOTHING:
            raises = step.settle(spent)
            if spent.estimated or not spent.picousd:
                return
            assert isinstance(call.error, StepBudgetExceeded) == raises, call.error
            if is_estimated:
                step.last_input = spent.input_tokens

    def look(self) -> None:
        """Those that waited are sent if there is room, refused if there will be none, or wait, and not for too long."""
        while any(self.has_been_sent(call) for call in list(self.waiting)):
            pass  # which of them came first, nobody knows: in some order, each has had its room
        now_s = self.calls.clock.now_s
        for call, until_s in list(self.waiting.items()):
            verdict = self.of[call].admit(call.cap, self.calls.estimate, may_wait=now_s < until_s)
            if call.state == "ended":
                del self.waiting[call]
                self.has_become(call, verdict)
            else:
                assert now_s < until_s, "no wait outlives its bound"
                assert verdict.is_contended, "whoever waits is waiting for others"

    def has_been_sent(self, call: HeldCall) -> bool:
        verdict = self.of[call].admit(call.cap, self.calls.estimate)
        if call.sent_cap is None or verdict[:2] != ("sent", call.sent_cap):
            return False
        del self.waiting[call]
        self.has_become(call, verdict)
        return True

    # -- what holds ----------------------------------------------------------------------------------------------------

    @invariant()
    def the_totals_are_what_was_answered(self) -> None:
        for each, active in self.active.items():
            picousd = round(active.cost_usd * 10**12) + round(active.estimated_cost_usd * 10**12)
            known = active.input_tokens, active.output_tokens, picousd, active.llm_calls, active.estimated_tokens
            assert known == each.own
            assert (active.total_input_tokens, active.total_output_tokens) == each.subtree[:2]

    @invariant()
    def what_is_spent_and_held_is_within_the_limits_but_for_the_error_of_the_estimates(self) -> None:
        for each in self.steps:
            if each.reserves:
                spent = each.spent
                # What is estimated of a call that was cancelled is its input.
                known = spent._replace(input_tokens=spent.input_tokens + spent.estimated, estimated=0)
                may_be_wrong = amount_of(OFF_BY * self.at_once.get(each, 0), 0)._replace(calls=0)
                assert known.plus(*each.held.values()).minus(may_be_wrong).crosses(each.budget) is None

    def teardown(self) -> None:
        try:
            while self.sent:  # those that wait are sent as these end, or wait no longer
                self.fail_a_call(0)
            self.time_passes(60.0)
            assert not self.calls.all
        finally:
            while self.steps:
                self.leave_innermost()
            self.stack.close()


TestReserving = ReservingMachine.TestCase
TestReserving.settings = examples(40, steps=30)
