"""What is known of a call may change until it has settled: what was counted before is replaced."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import otel_harn_steps as harn
from otel_harn_steps import CompletedStep, step
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import MODEL, PRICES, Provider, provider
from tests.steps.sinks import Ledger


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    yield
    gc.collect()
    harn.reset_steps()


def test_a_call_that_turns_out_to_be_of_another_model_is_taken_back_from_the_first(
    llm: Provider, ledger: Ledger
) -> None:
    with step("s") as active:
        stream = llm.ask(100, 20, stream=True, model="alias")
    list(stream)
    assert [record.model for record in ledger.of("ended")] == ["alias", MODEL]
    spends = [each for record in ledger.of("ended") for each in record.by_model]
    for model, calls, tokens in (("alias", 0, 0), (MODEL, 1, 120)):
        of_model = [each for each in spends if each.model == model]
        assert sum(each.llm_calls for each in of_model) == active.by_model["openai", model].llm_calls == calls
        assert sum(each.input_tokens + each.output_tokens for each in of_model) == tokens
        assert sum(each.unmetered_calls for each in of_model) == 0
    assert active.by_model["openai", "alias"].unmetered_calls == 0
    assert active.by_model["openai", MODEL] == active.own


def test_other_calls_of_the_first_model_stay_its_own(llm: Provider) -> None:
    with step("s") as active:
        stream = llm.ask(100, 20, stream=True, model="alias")
        harn.record_llm_usage("alias", 7, 3, provider="openai")
        harn.record_llm_usage(MODEL, 11, 2, provider="openai")
    list(stream)
    spent = {model: (tally.llm_calls, tally.input_tokens) for (_, model), tally in active.by_model.items()}
    assert spent == {"alias": (1, 7), MODEL: (2, 111)}


def test_an_estimate_is_replaced_by_what_is_reported(llm: Provider) -> None:
    with step("outer", max_tokens=10**6, scope="tree") as outer, step("inner") as inner:
        stream = iter(llm.ask(100, 20, stream=True))
        next(stream)
        llm.ask(1, 1)  # the budget looks at what was spent so far
        assert (outer.llm_calls, outer.estimated_tokens, outer.total_llm_calls) == (0, 0, 2)
        assert (inner.llm_calls, inner.unmetered_calls, inner.input_tokens) == (2, 1, 1)
        assert inner.estimated_tokens > 0
        list(stream)
        assert (inner.llm_calls, inner.unmetered_calls, inner.input_tokens, inner.estimated_tokens) == (2, 0, 101, 0)
        assert outer.subtree == inner.subtree == inner.own == inner.by_model["openai", MODEL]


def test_a_call_that_no_budget_covers_settles_no_open_stream(llm: Provider) -> None:
    with step("outer", max_tokens=10**6) as outer:
        stream = iter(llm.ask(100, 20, stream=True))
        next(stream)
        with step("inner"):
            llm.ask(1, 1)
            assert outer.llm_calls == 0
        llm.ask(1, 1)
        assert outer.llm_calls == 2
        list(stream)
    assert (outer.llm_calls, outer.input_tokens, outer.unmetered_calls) == (2, 101, 0)


def test_a_step_keeps_nothing_of_a_stream_that_has_settled(llm: Provider) -> None:
    with step("s", max_tokens=10**6) as active:
        first, second = llm.ask(10, 2, stream=True), llm.ask(10, 2, stream=True)
        list(first)
        assert (len(active._on_leave), len(active.tree.unread)) == (1, 1)
        list(second)
        assert (len(active._on_leave), len(active.tree.unread)) == (0, 0)


class Interrupted(Ledger):
    """A sink that is interrupted at the first amendment."""

    def step_ended(self, record: CompletedStep) -> None:
        is_first = not any(each.amends for each in self.of("ended"))
        super().step_ended(record)
        if record.amends and is_first:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_the_steps_above_their_amendments_with_the_difference(replay: ReplayServer) -> None:
    ledger = Interrupted()
    with instrumented(sinks=[ledger], prices=PRICES), provider(replay) as llm:
        with step("outer"), step("inner"):
            stream = llm.ask(100, 20, stream=True)
        with pytest.raises(KeyboardInterrupt):
            list(stream)
    amendments = [record for record in ledger.of("ended") if record.amends]
    assert [(each.name, each.total_llm_calls, each.total_input_tokens) for each in amendments] == [
        ("inner", 0, 100),
        ("outer", 0, 100),
    ]
