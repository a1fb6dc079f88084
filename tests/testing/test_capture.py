"""`capture_steps()`: the steps and calls of a block, and of nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest

import otel_harn_steps
from otel_harn_steps import record_llm_usage, step
from otel_harn_steps._instrument.instrumentation import current_instrumentation
from otel_harn_steps.testing import ReplayServer, capture_steps
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider


@pytest.fixture(autouse=True)
def begin_anew() -> Iterator[None]:
    otel_harn_steps.reset_steps()
    yield
    assert current_instrumentation() is None
    otel_harn_steps.reset_steps()


@pytest.fixture
def llm(replay: ReplayServer) -> Iterator[Provider]:
    with provider(replay) as made:
        yield made


@step("plan")
def plan(calls: int = 1) -> None:
    for _ in range(calls):
        record_llm_usage("m", 100, 20, 0.25)
    search()


@step("search")
def search() -> None:
    record_llm_usage("m", 10, 2, 0.125)


# -- what is captured --------------------------------------------------------------------------------------------------


def test_a_block_has_its_steps_its_calls_and_what_they_cost():
    with capture_steps() as captured:
        plan(2)
    assert [record.path for record in captured.records] == ["plan/search", "plan"]
    assert [row.step for row in captured.calls] == ["plan", "plan", "search"]
    assert captured.cost_usd == 0.625
    assert (captured.total.calls, captured.total.input_tokens, captured.total.output_tokens) == (3, 210, 42)


def test_a_step_is_found_by_its_name_and_by_its_path_with_what_it_spent_itself_and_in_all():
    with capture_steps() as captured:
        plan()
        search()
    assert (captured.step("plan").cost_usd, captured.step("plan").total.cost_usd) == (0.25, 0.375)
    assert len(captured.step("search").records) == 2
    assert len(captured.step("plan/search").records) == len(captured.step("plan/search").calls) == 1


def test_a_step_that_was_not_entered_is_an_error_that_names_those_that_were():
    with capture_steps() as captured:
        plan()
    with pytest.raises(LookupError, match="no step `plam` was entered; there were `plan`, `plan/search`"):
        captured.step("plam")


def test_the_calls_of_no_step_are_captured_too(llm):
    with capture_steps() as captured:
        llm.ask(30, 7)
    (row,) = captured.calls
    assert (row.step, row.step_id, row.input_tokens, row.output_tokens) == ("(no step)", None, 30, 7)


def test_a_real_client_is_captured_with_its_requests_and_its_rejections(llm):
    otel_harn_steps.instrument(prices=PRICES)
    try:
        with capture_steps() as captured, step("ask"):
            llm.ask(1000, 500)
            with pytest.raises(Exception, match="no"):
                llm.client.chat.completions.create(model="m", messages=[{"role": "user", "content": '{"status": 400}'}])
    finally:
        otel_harn_steps.uninstrument()
    assert [row.outcome for row in captured.calls] == ["answered", "failed"]
    assert (captured.total.calls, captured.cost_usd) == (1, 0.0065)


def test_a_stream_that_is_not_read_to_its_end_is_in_flight_until_it_is_dropped(llm):
    with capture_steps() as captured:
        stream = llm.ask(10, 5, stream=True)
        next(iter(stream))
        assert [row.outcome for row in captured.open_calls] == ["open"]
        stream.close()
        del stream
        gc.collect()
        assert captured.open_calls == ()
    assert [row.outcome for row in captured.calls] == ["cut"]


def test_a_price_that_is_not_known_is_none_and_not_zero():
    with capture_steps() as captured:
        record_llm_usage("a model of nobody's", 10, 5)
    assert captured.cost_usd is None


def test_what_comes_before_and_after_the_block_is_not_in_it():
    with instrumented():
        plan()
        with capture_steps() as captured:
            search()
        plan()
    assert [record.name for record in captured.records] == ["search"]
    assert len(captured.calls) == 1


def test_a_step_around_the_block_keeps_its_calls_and_the_block_sees_those_that_are_made_in_it():
    with instrumented(), step("around") as around:
        record_llm_usage("m", 1, 1, 1)
        with capture_steps() as captured:
            record_llm_usage("m", 10, 5, 2)
        assert around.cost_usd == 3
    assert (captured.cost_usd, [row.step for row in captured.calls]) == (2, ["around"])


def test_a_step_has_the_path_and_the_parent_that_it_has_without_a_capture():
    with instrumented():
        plan()
        bare = otel_harn_steps.drain_completed_steps()
        with capture_steps() as captured:
            plan()
    facts = [(record.path, record.parent_step, record.run_id, record.labels) for record in bare]
    assert [(each.path, each.parent_step, each.run_id, each.labels) for each in captured.records] == facts


# -- what is left as it was --------------------------------------------------------------------------------------------


def test_where_nobody_has_instrumented_the_block_does_and_takes_it_back():
    with capture_steps():
        assert current_instrumentation() is not None
    assert current_instrumentation() is None


def test_an_instrumentation_that_is_there_is_joined_and_stays():
    with instrumented(prices=PRICES):
        before = current_instrumentation()
        with capture_steps():
            assert current_instrumentation() is before
        assert current_instrumentation() is before


def test_an_app_that_instruments_itself_in_the_block_keeps_what_it_has_put_in_place():
    with capture_steps() as captured:
        otel_harn_steps.instrument(prices=PRICES)
        plan()
    assert current_instrumentation() is not None
    otel_harn_steps.uninstrument()
    assert len(captured.records) == 2


def test_records_stay_in_the_log_for_whoever_drains_it():
    with instrumented():
        search()
        with capture_steps() as captured:
            search()
            search()
        assert len(otel_harn_steps.drain_completed_steps()) == 3
    assert len(captured.records) == 2


def test_an_agents_budget_that_the_app_sets_in_the_block_holds():
    with capture_steps():
        otel_harn_steps.instrument(agents={"researcher": {"max_calls": 1}})
        with pytest.raises(otel_harn_steps.StepBudgetExceeded) as caught, step("look", agent="researcher"):
            record_llm_usage("m", 1, 1)
            record_llm_usage("m", 1, 1)
    otel_harn_steps.uninstrument()
    assert caught.value.budget_of == "agent"


def test_a_run_that_the_app_opens_in_the_block_has_its_budget_and_is_captured():
    with capture_steps() as captured:
        with pytest.raises(otel_harn_steps.StepBudgetExceeded) as caught, otel_harn_steps.run("nightly", max_calls=1):
            plan(2)
        search()
    assert caught.value.budget_of == "run"
    assert [row.step for row in captured.calls] == ["plan", "plan", "search"]


def test_a_block_in_a_run_is_a_part_of_it():
    with instrumented(), otel_harn_steps.run("nightly") as nightly:
        with capture_steps() as captured:
            plan()
        assert nightly.total_llm_calls == 2
    assert captured.total.calls == 2


# -- several blocks ----------------------------------------------------------------------------------------------------


def test_an_inner_block_has_its_own_and_the_outer_one_has_all():
    with capture_steps() as outer:
        plan()
        with capture_steps() as inner:
            search()
    assert (len(outer.records), len(inner.records)) == (3, 1)


def test_tasks_of_one_loop_have_their_own():
    async def test(calls: int) -> int:
        with capture_steps() as captured:
            for _ in range(calls):
                await asyncio.sleep(0)
                search()
        return len(captured.calls)

    async def at_once() -> list[int]:
        return await asyncio.gather(*map(test, range(8)))

    assert asyncio.run(at_once()) == list(range(8))


def test_threads_have_their_own():
    together = Barrier(8)

    def test(calls: int) -> tuple[int, int]:
        together.wait()
        with capture_steps() as captured:
            together.wait()
            for _ in range(calls):
                plan()
            together.wait()
        return len(captured.calls), len(captured.records)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(test, range(8))) == [(2 * calls, 2 * calls) for calls in range(8)]


def test_a_thread_that_carries_no_context_belongs_to_the_only_block():
    with capture_steps() as outer, capture_steps() as inner:
        thread = Thread(target=plan)
        thread.start()
        thread.join()
    assert len(outer.records) == len(inner.records) == 2


def test_a_thread_that_carries_no_context_belongs_to_none_of_several_and_a_warning_says_so(caplog):
    opened, done = Barrier(2), Barrier(2)

    def other_test() -> None:
        with capture_steps() as captured:
            opened.wait()
            done.wait()
        found.append(len(captured.records))

    found: list[int] = []
    other = Thread(target=other_test)
    other.start()
    with capture_steps() as captured, caplog.at_level(logging.WARNING, "otel_harn_steps"):
        opened.wait()
        bare = Thread(target=plan)
        bare.start()
        bare.join()
        search()
        done.wait()
    other.join()
    assert (len(captured.records), found) == (1, [0])
    assert caplog.text.count("belongs to none of the 2 that are open") == 1


def test_a_context_that_has_kept_a_block_that_is_over_belongs_to_the_one_that_is_open():
    with capture_steps() as first:
        kept = contextvars.copy_context()  # as an event loop that outlives a test has it
    with capture_steps() as second:
        kept.run(plan)
    assert (len(first.records), len(second.records)) == (0, 2)


def test_a_block_may_be_closed_in_another_context_than_it_was_opened_in():
    block = capture_steps()
    captured = contextvars.copy_context().run(block.__enter__)
    plan()
    block.__exit__(None, None, None)
    search()
    assert len(captured.records) == 2
