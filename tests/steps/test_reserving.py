"""A budget that is asked before a call is sent: whether there is room for what the call may spend."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import Budget, StepBudgetExceeded, StepBudgetStop, step
from tests.provider import Provider


def test_a_call_for_which_there_is_no_room_is_refused_before_it_is_sent(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100, preflight="reserve"):
        llm.ask(10, 5, max_tokens=5_000)
    error = caught.value
    assert llm.handed_out.calls == 0
    assert (error.projected, error.limit, error.consumed_tokens) == (True, "max_tokens", 0)
    assert error.projected_tokens is not None
    assert error.projected_tokens > 5_000
    assert error.projected_cost_usd is not None
    assert error.projected_cost_usd >= 5_000 * 7e-6
    assert error.as_dict()["projected_tokens"] == error.projected_tokens
    assert "no room" in str(error)


def test_after_a_call_without_room_a_smaller_one_may_still_be_sent(llm: Provider) -> None:
    with step("s", max_tokens=100, preflight="reserve") as active:
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask(10, 5, max_tokens=5_000)
        caught.value.accept()
        llm.ask(10, 5, max_tokens=20)
        assert active.llm_calls == 1
    (record,) = harn.drain_completed_steps()
    assert (record.status, record.breach) == ("completed", "max_tokens")


async def test_concurrent_calls_cannot_overshoot(llm: Provider) -> None:
    async with step("s", max_tokens=300, preflight="reserve") as active:
        results = await asyncio.gather(
            *(llm.ask_async(10, 50, max_tokens=50) for _ in range(10)), return_exceptions=True
        )
        refused = [each for each in results if isinstance(each, StepBudgetExceeded)]
        assert active.input_tokens + active.output_tokens <= 300
        assert llm.handed_out.calls + len(refused) == 10
        assert llm.handed_out.calls >= 3
        refused[0].accept()


async def test_concurrent_calls_that_wait_for_room_are_sent_one_after_the_other(llm: Provider) -> None:
    async with step("s", max_tokens=300, preflight="reserve", on_contention="wait") as active:
        # Each may spend as much that only two fit, and spends so little that all do.
        await asyncio.gather(*(llm.ask_async(10, 5, max_tokens=120) for _ in range(10)))
        assert active.llm_calls == 10


async def test_calls_of_which_nobody_knows_how_long_they_are_wait_for_the_first_one(llm: Provider) -> None:
    async with step("s", max_tokens=300, preflight="reserve", on_contention="wait") as active:
        # Nothing bounds the first one, so it is let in alone. By then, so many output tokens are to be expected.
        await asyncio.gather(*(llm.ask_async(10, 5) for _ in range(10)))
        assert active.llm_calls == 10


def test_threads_that_wait_for_room_are_sent_one_after_the_other(llm: Provider) -> None:
    failed: list[BaseException] = []
    with step("s", max_tokens=300, preflight="reserve", on_contention="wait") as active:
        context = __import__("contextvars").copy_context()

        def work() -> None:
            try:
                context.copy().run(llm.ask, 10, 5, max_tokens=120)
            except BaseException as error:  # noqa: BLE001 -- looked at below
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(10)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert active.llm_calls == 10
    assert failed == []


async def test_a_call_that_has_waited_is_sent_as_the_app_wrote_it(llm: Provider) -> None:
    async with step("s", max_tokens=300, preflight="reserve", on_contention="wait"):
        first = asyncio.create_task(llm.ask_async(10, 5, max_tokens=250))
        await asyncio.sleep(0)
        events = [event async for event in await llm.ask_async(10, 5, max_tokens=120, stream=True)]
        await first
    assert all(event.choices for event in events)  # the app has not asked for the stream's usage, and sees none


async def test_a_wait_ends(llm: Provider) -> None:
    async with step("s", max_tokens=300, preflight="reserve", on_contention="wait", wait_seconds=0.01) as active:
        stream = await llm.ask_async(10, 5, max_tokens=250, stream=True)
        with pytest.raises(StepBudgetExceeded) as caught:
            await llm.ask_async(10, 5, max_tokens=120)
        caught.value.accept()
        async for _ in stream:
            pass
        await llm.ask_async(10, 5, max_tokens=120)
        assert active.llm_calls == 2


@pytest.mark.parametrize("way", ["failed", "dropped", "unread"])
def test_what_is_held_for_a_call_comes_back_whatever_becomes_of_it(way: str, llm: Provider) -> None:
    with step("s", max_tokens=200, preflight="reserve"):
        for _ in range(5):
            if way == "failed":
                with pytest.raises(Exception, match="no"):
                    llm.client.chat.completions.create(
                        model="model-of-ours", max_tokens=150, messages=[{"role": "user", "content": '{"status": 500}'}]
                    )
            elif way == "dropped":
                stream = llm.ask(1, 1, max_tokens=100, stream=True)
                next(stream)
                del stream
            else:
                llm.ask(1, 1, max_tokens=100, stream=True)


def test_a_call_without_a_maximum_is_let_through_alone_and_its_like_are_expected_to_be_as_long(llm: Provider) -> None:
    with step("s", max_tokens=180, preflight="reserve"):
        llm.ask(10, 80)
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask(10, 5)
        caught.value.accept()
    assert caught.value.projected
    assert llm.handed_out.calls == 1


def test_what_a_call_allows_is_lowered_to_what_there_is_room_for(llm: Provider) -> None:
    with step("s", max_tokens=100, preflight="reserve", cap_output=True):
        llm.ask(10, 5, max_tokens=5_000)
    (sent,) = [received.json() for received in llm.exchange.requests]
    assert sent["max_tokens"] < 100


def test_the_estimate_of_the_input_is_raised_to_what_was_measured(llm: Provider) -> None:
    with step("s", max_tokens=1_000, preflight="reserve"):
        llm.ask(400, 5, max_tokens=10)
        llm.ask(400, 5, max_tokens=10)
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask(400, 5, max_tokens=10)
        caught.value.accept()
    assert caught.value.projected_tokens is not None
    assert caught.value.projected_tokens >= 810 + 400


def test_a_step_above_holds_room_too(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught:
        with step("outer", max_tokens=100, scope="tree", preflight="reserve"), step("inner"):
            llm.ask(10, 5, max_tokens=500)
    assert (caught.value.step, caught.value.projected) == ("outer", True)


# -- further limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"max_calls": 2}, "max_calls"),
        ({"max_input_tokens": 25}, "max_input_tokens"),
        ({"max_output_tokens": 12}, "max_output_tokens"),
        ({"max_cost_per_call": 0.00005}, "max_cost_per_call"),
        ({"max_seconds": 1e-9}, "max_seconds"),
    ],
)
def test_each_limit_is_held(limits: dict[str, Any], limit: str, llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", budget=Budget(**limits)):
        for _ in range(10):
            llm.ask(10, 5)
    assert caught.value.limit == limit
    assert caught.value.limit_value == limits[limit]
    assert caught.value.consumed > limits[limit]
    assert limit in str(caught.value)
    assert llm.handed_out.calls <= 3


def test_a_stream_that_is_open_counts_once_for_a_limit_of_calls(llm: Provider) -> None:
    with step("s", max_calls=2) as active:
        stream = llm.ask(10, 5, stream=True)
        next(stream)
        llm.ask()
        list(stream)
        assert active.llm_calls == 2


async def test_concurrent_calls_count_for_a_limit_of_calls(llm: Provider) -> None:
    async with step("s", max_calls=3) as active:
        results = await asyncio.gather(*(llm.ask_async() for _ in range(10)), return_exceptions=True)
        refused = [each for each in results if isinstance(each, StepBudgetExceeded)]
        assert (active.llm_calls, len(refused)) == (3, 7)
        refused[0].accept()


# -- the hard stop -----------------------------------------------------------------------------------------------------


def persistent(llm: Provider) -> None:
    """Tries again whatever is raised, as frameworks do."""
    for _ in range(1_000):
        try:
            llm.ask(10, 50)
        except Exception:  # noqa: BLE001 -- as said
            continue


def test_a_loop_that_tries_again_cannot_outlast_a_budget(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100):
        persistent(llm)
    assert caught.value.limit == "max_tokens"
    assert llm.handed_out.calls == 2


def test_the_boundary_decides_about_a_hard_stop(llm: Provider) -> None:
    @step("s", max_tokens=100, error_boundary="continue", fallback="enough")
    def body() -> str:
        persistent(llm)
        return "never"

    assert body() == "enough"
    (record,) = harn.drain_completed_steps()
    assert record.status == "skipped"


def test_a_step_within_lets_a_hard_stop_of_a_step_around_it_pass(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("outer", max_tokens=100, scope="tree"):
        with pytest.raises(StepBudgetStop) as stopped, step("inner", error_boundary="continue"):
            persistent(llm)
        raise stopped.value
    assert caught.value.step == "outer"
    assert {record.name: record.status for record in harn.drain_completed_steps()} == {
        "inner": "failed",
        "outer": "failed",
    }


async def test_a_hard_stop_in_a_group_is_turned_back_too(llm: Provider) -> None:
    async def work() -> None:
        for _ in range(100):
            try:
                await llm.ask_async(10, 50)
            except Exception:  # noqa: BLE001 -- as above
                continue

    with pytest.raises(ExceptionGroup) as caught:
        async with step("s", max_tokens=100):
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
    assert caught.group_contains(StepBudgetExceeded)


def test_when_the_hard_stop_comes_is_a_setting(llm: Provider) -> None:
    with step("s", max_tokens=10, hard_stop_after=0, error_boundary="continue"):
        with pytest.raises(StepBudgetExceeded):
            llm.ask(10, 5)
        with pytest.raises(StepBudgetStop):
            llm.ask(10, 5)


# -- a fallback that is made -------------------------------------------------------------------------------------------


def test_a_fallback_is_made_of_the_error_and_the_partial_answer(llm: Provider) -> None:
    def made(error: StepBudgetExceeded, partial: Any) -> tuple[str, int]:
        return error.limit, len(partial.choices)

    @step("s", max_tokens=10, error_boundary="continue", fallback=made)
    def body() -> Any:
        return llm.ask(10, 5)

    assert body() == ("max_tokens", 1)


async def test_a_fallback_that_is_a_coroutine_function_is_awaited(llm: Provider) -> None:
    async def made(error: StepBudgetExceeded, partial: Any) -> str:
        await asyncio.sleep(0)
        return error.limit

    @step("s", max_tokens=10, error_boundary="continue", fallback=made)
    async def body() -> Any:
        return await llm.ask_async(10, 5)

    assert await body() == "max_tokens"


# -- the brake ---------------------------------------------------------------------------------------------------------


def test_a_stream_is_stopped_at_the_event_at_which_its_budget_cannot_be_met(llm: Provider) -> None:
    seen = 0
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=100, preflight="reserve") as active:
        for _ in llm.ask(10, 400, stream=True):
            seen += 1
    assert 55 <= seen <= 100
    assert caught.value.partial == "word " * (seen + 1)
    assert active.output_tokens == 0
    assert 80 <= active.estimated_tokens <= 110
    (record,) = harn.drain_completed_steps()
    assert (record.status, record.breach) == ("failed", "max_tokens")


async def test_an_asynchronous_stream_is_stopped_too(llm: Provider) -> None:
    seen = 0
    with pytest.raises(StepBudgetExceeded):
        async with step("s", max_usd=0.0014, preflight="reserve"):
            async for _ in await llm.ask_async(10, 400, stream=True):
                seen += 1
    assert 100 <= seen <= 145


def test_streams_at_once_are_stopped_by_what_they_bring_together(llm: Provider) -> None:
    with step("s", max_tokens=200, stop_streams=True) as active:
        streams = [llm.ask(10, 400, stream=True) for _ in range(4)]
        seen, stopped = 0, 0
        while streams:
            for stream in list(streams):
                try:
                    next(stream)
                    seen += 1
                except StepBudgetExceeded as error:
                    streams.remove(stream)
                    stopped += 1
                    error.accept()
        assert stopped == 4
        assert seen <= 210
        assert active.open_calls == 0


async def test_streams_that_are_estimated_too_high_do_not_stop_each_other(llm: Provider) -> None:
    async def read() -> int:
        return len([event async for event in await llm.ask_async(10, 200, stream=True, max_tokens=210)])

    async with step("s", max_tokens=4 * 225, preflight="reserve") as active:
        assert await asyncio.gather(*(read() for _ in range(4))) == [201] * 4
        assert active.output_tokens == 800


def test_a_stream_within_its_budget_is_left_alone(llm: Provider) -> None:
    with step("s", max_tokens=700, preflight="reserve") as active:
        assert len(list(llm.ask(10, 400, stream=True))) == 401
        assert (active.output_tokens, active.estimated_tokens) == (400, 0)


def test_a_budget_that_only_looks_on_stops_nothing(llm: Provider) -> None:
    with step("s", max_tokens=20, preflight="reserve", mode="shadow") as active:
        for _ in range(3):
            llm.ask(10, 50, max_tokens=100)
        list(llm.ask(10, 50, stream=True))
        assert active.would_have_stopped == "max_tokens"
    assert llm.handed_out.calls == 4


# -- loops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_request_with_the_same_answer_is_a_loop(streamed: bool, llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", loop=3):
        for _ in range(10):
            answer = llm.ask(10, 5, stream=streamed)
            if streamed:
                list(answer)
    assert (caught.value.limit, caught.value.limit_value, llm.handed_out.calls) == ("loop", 3, 3)
    assert "repeats itself" in str(caught.value)


def test_requests_that_alternate_are_a_loop_and_those_that_change_are_none(llm: Provider) -> None:
    with step("s", loop=2):
        for size in range(1, 6):
            llm.ask(10, size)
    with pytest.raises(StepBudgetExceeded), step("s", loop=2):
        for size in range(10):
            llm.ask(10, 1 + size % 2)
    assert llm.handed_out.calls == 5 + 4


def test_a_refusal_of_an_outer_budget_comes_before_waiting_for_an_inner_one(llm: Provider) -> None:
    waits: Any = {"preflight": "reserve", "on_contention": "wait"}

    async def main() -> str:
        async with step("outer", max_tokens=70, scope="tree", **waits), step("inner", max_tokens=80, **waits):
            first = asyncio.ensure_future(llm.ask_async(10, 40, max_tokens=40))
            await asyncio.sleep(0)
            try:
                await llm.ask_async(10, 50, max_tokens=65)
            except StepBudgetExceeded as error:
                error.accept()
                return f"{error.step} {first.done()}"
            finally:
                await first
        return "sent"

    assert asyncio.run(main()) == "outer False"
