"""`error_boundary="pause"`: somebody decides whether a step may spend more."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, drain_completed_steps, step
from otel_harn_steps._steps.deciders import limits_of
from otel_harn_steps._steps.steering import Asker, Steered
from tests.provider import PRICES, Provider

RAISED = ("paused:max_calls", "decided:hook", "raised:max_calls=4")


def raises(**limits: float) -> Callable[[Any, StepBudgetExceeded], dict[str, float]]:
    """Decide for these limits, whatever is asked."""
    return lambda _active, _error: dict(limits)


def paused(**limits: Any) -> Any:
    return step("plan", error_boundary="pause", **limits)


def events() -> tuple[str, ...]:
    return drain_completed_steps()[-1].budget_events


# -- where the budget is asked -----------------------------------------------------------------------------------------


def test_a_call_that_was_to_be_refused_is_sent_when_the_limit_is_raised(llm: Provider) -> None:
    harn.on_budget_pause(raises(max_calls=4))
    with paused(max_calls=1) as active:
        for _ in range(4):
            llm.ask()
        assert active.breach is None
    assert llm.handed_out.calls == 4
    assert events() == RAISED


def test_a_call_that_has_crossed_gives_its_answer_when_the_limit_is_raised(llm: Provider) -> None:
    harn.on_budget_pause("pl*")(raises(max_usd=1))
    with paused(max_usd=0.00001):
        assert llm.ask().choices
        assert llm.ask().choices
    assert events() == ("paused:max_usd", "decided:hook", "raised:max_usd=1")


def test_there_is_room_for_a_call_when_the_limit_is_raised(llm: Provider) -> None:
    harn.on_budget_pause(raises(max_tokens=1000))
    with paused(max_tokens=20, preflight="reserve") as active:
        llm.ask(10, 50, max_tokens=50)
        assert (active.breach, active.refused) == (None, 0)


def test_a_stream_goes_on_in_the_middle_when_the_limit_is_raised(llm: Provider) -> None:
    asked: list[str] = []

    @harn.on_budget_pause
    def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        asked.append(error.limit)
        return {"max_tokens": 1000}

    with paused(max_tokens=30, stop_streams=True):
        words = [each for each in llm.ask(10, 100, stream=True) if each.choices and each.choices[0].delta.content]
    assert len(words) == 100
    assert asked == ["max_tokens"]


def test_a_stream_that_crosses_at_its_end_ends_quietly_when_the_limit_is_raised(llm: Provider) -> None:
    harn.on_budget_pause(raises(max_tokens=1000))
    with paused(max_tokens=30):
        list(llm.ask(10, 100, stream=True))


def test_usage_that_is_recorded_by_hand_is_asked_about(llm: Provider) -> None:
    harn.on_budget_pause(raises(max_tokens=1000))
    with paused(max_tokens=30):
        harn.record_llm_usage("m", 100, 1)


async def ask_all_ways(llm: Provider) -> None:
    await llm.ask_async()
    await llm.ask_async()
    async for _ in await llm.ask_async(10, 100, stream=True):
        pass
    llm.ask()


@pytest.mark.parametrize("limits", [{"max_calls": 1}, {"max_tokens": 10}, {"max_tokens": 60, "preflight": "reserve"}])
def test_a_coroutine_decides_for_coroutines_and_for_synchronous_calls_among_them(
    llm: Provider, limits: dict[str, Any]
) -> None:
    @harn.on_budget_pause
    async def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        await asyncio.sleep(0)
        return {error.limit: error.limit_value * 100}

    async def main() -> None:
        async with paused(**limits):
            await ask_all_ways(llm)

    asyncio.run(main())
    assert llm.handed_out.calls == 4
    assert "decided:hook" in events()


def test_a_coroutine_decides_for_calls_without_an_event_loop(llm: Provider) -> None:
    @harn.on_budget_pause
    async def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        return {"max_calls": 2}

    with paused(max_calls=1):
        llm.ask()
        llm.ask()


# -- who stops ---------------------------------------------------------------------------------------------------------


def test_none_stops_the_step_and_nobody_is_asked_again(llm: Provider) -> None:
    asked: list[StepBudgetExceeded] = []
    harn.on_budget_pause(lambda _active, error: asked.append(error))
    with pytest.raises(StepBudgetExceeded) as caught, paused(max_calls=1):
        llm.ask()
        with pytest.raises(StepBudgetExceeded):
            llm.ask()
        llm.ask()
    assert caught.value.error_boundary == "pause"
    assert len(asked) == 1
    assert llm.handed_out.calls == 1
    assert events() == ("paused:max_calls", "decided:hook", "stopped:max_calls")


def test_a_stream_that_is_stopped_ends_at_the_event(llm: Provider) -> None:
    harn.on_budget_pause(lambda _active, _error: None)
    with pytest.raises(StepBudgetExceeded) as caught, paused(max_tokens=30, stop_streams=True):
        list(llm.ask(10, 100, stream=True))
    assert caught.value.partial is not None
    assert caught.value.partial.startswith("word ")


def test_without_anybody_to_decide_the_step_is_stopped_and_a_warning_says_so(
    llm: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StepBudgetExceeded), paused(max_calls=1):
        llm.ask()
        llm.ask()
    assert "there is nobody to decide" in caplog.text
    assert events() == ("paused:max_calls", "decided:nobody", "stopped:max_calls")


@pytest.mark.parametrize(
    "decides",
    [
        lambda _active, _error: 1 / 0,
        raises(max_calls=1),
        raises(max_tokens=100),
        raises(max_cals=100),
        lambda _active, _error: "more",
    ],
    ids=["raises", "no more", "another limit", "no limit", "no mapping"],
)
def test_who_decides_for_nothing_that_helps_stops_the_step(
    llm: Provider, decides: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harn.on_budget_pause(decides)
    with pytest.raises(StepBudgetExceeded), paused(max_calls=1):
        llm.ask()
        llm.ask()
    assert llm.handed_out.calls == 1
    assert events()[-1] == "stopped:max_calls"


def test_other_boundaries_and_other_names_ask_nobody(llm: Provider) -> None:
    asked: list[StepBudgetExceeded] = []
    harn.on_budget_pause("other")(lambda _active, error: asked.append(error))
    for boundary in ("fail", "continue", "pause"):
        with step("plan", max_calls=1, error_boundary=boundary):  # type: ignore[call-overload]  # each of them
            llm.ask()
            with pytest.raises(StepBudgetExceeded) as caught:
                llm.ask()
            caught.value.accept()
    assert asked == []


# -- at the same time --------------------------------------------------------------------------------------------------


def test_calls_at_the_same_time_ask_once_and_all_go_on(llm: Provider) -> None:
    asked: list[StepBudgetExceeded] = []

    @harn.on_budget_pause
    async def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        asked.append(error)
        for _ in range(5):
            await asyncio.sleep(0)
        return {"max_calls": 20}

    async def main() -> None:
        async with paused(max_calls=1):
            await asyncio.gather(*[llm.ask_async() for _ in range(20)])

    asyncio.run(main())
    assert llm.handed_out.calls == 20
    assert len(asked) == 1


def test_threads_wait_for_the_one_that_asks(llm: Provider) -> None:
    all_there, asked = threading.Barrier(4, timeout=20), []

    @harn.on_budget_pause
    def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        asked.append(error)
        return {"max_calls": 4}

    def one(_: int) -> None:
        all_there.wait()
        llm.ask()

    with paused(max_calls=1), ThreadPoolExecutor(4) as pool:
        contexts = [copy_context() for _ in range(4)]
        list(pool.map(lambda context: context.run(one, 0), contexts))
    assert llm.handed_out.calls == 4
    assert len(asked) == 1


def test_calls_of_who_decides_are_refused_and_do_not_wait_for_themselves(llm: Provider) -> None:
    refused: list[StepBudgetExceeded] = []

    @harn.on_budget_pause
    def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        try:
            llm.ask()
        except StepBudgetExceeded as refusal:
            refused.append(refusal)
        return {"max_calls": 2}

    with paused(max_calls=1):
        llm.ask()
        llm.ask()
    assert len(refused) == 1


def test_an_interrupt_while_somebody_is_asked_passes_and_the_next_call_asks_again(llm: Provider) -> None:
    times = iter(range(10))

    @harn.on_budget_pause
    def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        if next(times) == 0:
            raise KeyboardInterrupt
        return {"max_calls": 2}

    with paused(max_calls=1):
        llm.ask()
        with pytest.raises(KeyboardInterrupt):
            llm.ask()
        llm.ask()
    assert events() == ("paused:max_calls", "paused:max_calls", "decided:hook", "raised:max_calls=2")


def test_an_interrupt_where_the_answer_is_taken_lets_the_next_call_ask_again(
    llm: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, {"max_calls": 2}])
    harn.on_budget_pause(lambda _active, _error: next(answers))

    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with paused(max_calls=1):
        llm.ask()
        monkeypatch.setattr(Steered, "end_pause", interrupted)
        with suppress(KeyboardInterrupt):
            llm.ask()
        llm.ask()
    assert llm.handed_out.calls == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_that_is_forked_while_somebody_is_asked_asks_by_itself(llm: Provider) -> None:
    codes: list[int] = []

    @harn.on_budget_pause
    def decide(active: Any, error: StepBudgetExceeded) -> dict[str, float]:
        if not codes:
            codes.append(-1)
            pid = os.fork()
            if not pid:
                codes.append(-2)
                os._exit(7 if active.begins_pause("max_calls", Asker()) else 1)
            codes[0] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return {"max_calls": 2}

    with paused(max_calls=1):
        llm.ask()
        llm.ask()
    assert codes == [7]


# -- in a folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(llm: Provider, tmp_path: Path) -> Path:
    harn.instrument(prices=PRICES, pause_folder=tmp_path / "pauses")
    return tmp_path / "pauses"


@pytest.fixture
def answering(folder: Path) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Somebody who answers each question that comes, one answer after the other; what was asked is kept."""
    is_over, threads = threading.Event(), []

    def start(*answers: str) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def answer() -> None:
            left = list(answers)
            while left and not is_over.wait(0.01):
                for question in folder.glob("*.json"):
                    known = json.loads(question.read_text())
                    if not Path(known["answer_in"]).exists() and known not in asked:
                        asked.append(known)
                        Path(known["answer_in"]).write_text(left.pop(0))

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return asked

    yield start
    is_over.set()
    for thread in threads:
        thread.join()


def test_a_file_with_the_question_waits_for_a_file_with_the_answer(
    llm: Provider, folder: Path, answering: Callable[..., list[dict[str, Any]]]
) -> None:
    asked = answering("raise max_calls=4\n")
    with paused(max_calls=1, wait_seconds=60):
        for _ in range(4):
            llm.ask()
    (question,) = asked
    assert question["message"] == "step `plan` exceeded max_calls budget (2 > 1)"
    assert question["answers"] == ["stop", "raise max_calls=2"]
    assert (question["step"], question["limit"], question["limit_value"], question["consumed"]) == (
        "plan", "max_calls", 1, 2,
    )  # fmt: skip
    assert list(folder.iterdir()) == []
    assert events() == ("paused:max_calls", "decided:folder", "raised:max_calls=4")


def test_an_answer_that_is_none_is_told_in_the_question_and_the_next_one_counts(
    llm: Provider, folder: Path, answering: Callable[..., list[dict[str, Any]]]
) -> None:
    asked = answering("yes\n", "stop\n")
    with pytest.raises(StepBudgetExceeded), paused(max_calls=1, wait_seconds=60):
        llm.ask()
        llm.ask()
    assert asked[1]["mistake"] == 'must be "stop", or "raise" with limits, as in "raise max_usd=2", not \'yes\''
    assert events()[-1] == "stopped:max_calls"


def test_without_an_answer_the_step_is_stopped_when_its_time_is_over(llm: Provider, folder: Path) -> None:
    with pytest.raises(StepBudgetExceeded), paused(max_calls=1, wait_seconds=0.001):
        llm.ask()
        llm.ask()
    assert events() == ("paused:max_calls", "decided:folder", "stopped:max_calls")
    assert list(folder.iterdir()) == []


def test_the_files_are_for_their_owner_alone_and_named_after_the_step(
    llm: Provider, folder: Path, answering: Callable[..., list[dict[str, Any]]]
) -> None:
    seen: list[tuple[str, int]] = []

    @harn.on_step_start
    def watch(active: Any) -> None:
        def look() -> None:
            while not seen:
                seen.extend((each.name, each.stat().st_mode & 0o777) for each in folder.glob("*.json"))

        threading.Thread(target=look).start()

    answering("stop\n")
    with pytest.raises(StepBudgetExceeded), step("../a b\x1b[31m", max_calls=1, error_boundary="pause"):
        llm.ask()
        llm.ask()
    name, mode = seen[0]
    assert name.startswith("..-a-b-31m-")
    assert mode == 0o600


def test_a_folder_that_cannot_be_made_stops_the_step(
    llm: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    harn.instrument(prices=PRICES, pause_folder=str(tmp_path / "file" / "pauses"))
    with caplog.at_level(logging.WARNING), pytest.raises(StepBudgetExceeded), paused(max_calls=1):
        llm.ask()
        llm.ask()
    assert "asking whether a step may spend more" in caplog.text


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("stop\n", {}),
        ("raise max_usd=2", {"max_usd": 2}),
        (" raise  max_usd=0.5 max_calls=40\n", {"max_usd": 0.5, "max_calls": 40}),
    ],
)
def test_an_answer_is_stop_or_limits(text: str, limits: dict[str, float]) -> None:
    assert limits_of(text) == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'must be "stop", or "raise"'),
        ("raise", 'must be "stop", or "raise"'),
        ("lower max_usd=1", 'must be "stop", or "raise"'),
        ("raise max_uds=1", "'max_uds' is no limit; known: max_tokens, max_usd,"),
        ("raise max_usd", "'max_usd' has no number that max_usd can be"),
        ("raise max_usd=-1", "'max_usd=-1' has no number that max_usd can be"),
        ("raise max_calls=nan", "'max_calls=nan' has no number that max_calls can be"),
    ],
)
def test_an_answer_that_is_neither_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limits_of(text)


@pytest.mark.parametrize("folder", [1, "", ["a"]])
def test_a_folder_that_is_no_path_is_told(folder: Any) -> None:
    with pytest.raises(TypeError, match="pause_folder must be a path, not"):
        harn.instrument(pause_folder=folder)
