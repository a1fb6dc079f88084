"""`run("nightly", max_usd=5)`: a budget of everything that the program spends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType

import pytest

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, StepBudgetStop, step
from otel_harn_steps._steps.program_run import RUN_BUDGET
from otel_harn_steps._steps.shared_budget import SharedBudget
from tests.provider import Provider


def test_calls_inside_and_outside_of_steps_count_for_the_run(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, harn.run("nightly", max_calls=3):
        llm.ask()
        with step("s", error_boundary="continue"):
            llm.ask()
        llm.ask()
        with step("s", error_boundary="continue"):  # may forgive its own overspending, and not the run's
            llm.ask()
    assert (caught.value.step, caught.value.budget_of, caught.value.limit) == ("nightly", "run", "max_calls")
    assert str(caught.value) == "run `nightly` exceeded max_calls budget (4 > 3)"
    assert llm.handed_out.calls == 3


def test_a_runs_budget_reserves_unless_it_says_otherwise(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, harn.run("nightly", max_tokens=100):
        llm.ask(10, 5, max_tokens=500)
    assert caught.value.projected
    assert llm.handed_out.calls == 0
    with harn.run("nightly", max_tokens=100, preflight="exhausted"):
        llm.ask(10, 5, max_tokens=500)


def test_a_call_that_would_fit_is_told_that_the_run_has_ended_before(llm: Provider) -> None:
    with harn.run("nightly", max_tokens=100):
        with pytest.raises(StepBudgetExceeded) as no_room:
            llm.ask(10, 5, max_tokens=500)
        with pytest.raises(StepBudgetExceeded) as later:
            llm.ask(10, 5, max_tokens=5)
    assert (no_room.value.projected, later.value.projected, later.value.limit) == (True, False, "max_tokens")
    assert str(later.value) == "run `nightly` has ended: its max_tokens budget had no room for an earlier call"


def test_a_hard_stop_is_turned_back_at_the_runs_edge(llm: Provider) -> None:
    def insist() -> None:
        for _ in range(100):
            try:
                llm.ask(10, 50)
            except Exception:  # noqa: BLE001 -- as frameworks do
                continue

    with pytest.raises(StepBudgetExceeded), harn.run("nightly", max_tokens=100, preflight="exhausted"):
        insist()
    assert llm.handed_out.calls == 2


def test_calls_at_the_same_time_that_are_all_stopped_do_not_count_as_a_program_that_goes_on(llm: Provider) -> None:
    with pytest.raises(StepBudgetExceeded), harn.run("nightly", max_calls=1):
        shared = SharedBudget(json.loads(os.environ[RUN_BUDGET])["file"])
        llm.ask()
        with ThreadPoolExecutor(10) as pool:
            together = Barrier(10)
            calls = [pool.submit(_ask_after, together, llm) for _ in range(10)]
        stopped = [call for call in calls if isinstance(call.exception(), StepBudgetStop)]
        counted = shared.totals().refused
        for _ in range(2):
            with pytest.raises(StepBudgetStop):
                llm.ask()
        counted_later = shared.totals().refused
        shared.close()
        llm.ask()
    assert (len(stopped), counted, counted_later) == (7, 1, 2)


def _ask_after(together: Barrier, llm: Provider) -> None:
    together.wait()
    llm.ask()


def test_the_budget_ends_with_the_run_and_leaves_nothing_behind(llm: Provider) -> None:
    with harn.run("nightly", max_calls=1):
        llm.ask()
        folder = os.path.dirname(json.loads(os.environ[RUN_BUDGET])["file"])  # noqa: PTH120 -- text in, text out
        assert os.path.exists(folder)  # noqa: PTH110 -- as above
    assert RUN_BUDGET not in os.environ
    assert not os.path.exists(folder)  # noqa: PTH110 -- as above
    with step("s"):
        llm.ask()


def test_a_run_within_a_run_says_that_its_budget_is_not_held(
    steps: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with harn.run("outer"), caplog.at_level(logging.WARNING, "otel_harn_steps"), harn.run("inner", max_usd=1):
        pass
    assert "run 'inner' is part of run 'outer', whose budget holds" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_spends_of_the_same_budget_and_what_a_killed_one_held_comes_back(llm: Provider) -> None:
    with harn.run("nightly", max_tokens=1_000):
        llm.ask(100, 100, max_tokens=100)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                llm.ask(100, 100, max_tokens=100)
                stream = llm.ask(10, 5, max_tokens=500, stream=True)
                next(stream)
                os.write(write, b"x")
                signal.pause()
            finally:
                os._exit(1)
        assert os.read(read, 1) == b"x"
        with pytest.raises(StepBudgetExceeded) as caught:  # 400 are spent, and the child holds 500
            asyncio.run(_ask_without_waiting(llm))
        assert caught.value.projected
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        llm.ask(100, 100, max_tokens=400)


async def _ask_without_waiting(llm: Provider) -> None:
    # A client that does not await, in an event loop, does not wait for room either.
    llm.ask(100, 100, max_tokens=400)


@pytest.mark.parametrize("limits", [{"max_usd": -1}, {"max_tokens": 0}, {"preflight": "maybe"}])
def test_a_wrong_limit_of_a_run_is_told(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        harn.run("nightly", **limits)  # type: ignore[arg-type]  # wrong on purpose


def test_an_unknown_limit_of_a_run_is_told() -> None:
    with pytest.raises(ValueError, match="did you mean 'max_usd'"):
        harn.run("nightly", maxusd=1)  # type: ignore[call-arg]  # wrong on purpose
