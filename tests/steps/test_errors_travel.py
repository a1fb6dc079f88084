"""Budget errors in another process say what they said in the first."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Lock

import pytest

from otel_harn_steps import StepBudgetExceeded, StepEscalated, drain_completed_steps, step
from tests.guard.interrupting import TimeLimitError, by_signal, time_limit
from tests.steps.spending import spend


def exceeded(boundary: str = "fail") -> BaseException:
    with pytest.raises((StepBudgetExceeded, StepEscalated)) as caught:
        with step("s", max_tokens=100, error_boundary=boundary):
            spend(130)
    drain_completed_steps()
    return caught.value


def noted(error: BaseException) -> BaseException:
    error.add_note("while planning")
    error.ticket = 7
    error.client = Lock()  # cannot travel
    return error


def fail_elsewhere() -> None:
    raise noted(exceeded())


@pytest.mark.parametrize("boundary", ["fail", "escalate"])
@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_the_notes_go_with_it_and_what_the_app_has_put_on_it(boundary, travel):
    error = noted(exceeded(boundary))
    arrived = travel(error)
    assert (type(arrived), str(arrived), arrived.as_dict()) == (type(error), str(error), error.as_dict())
    assert arrived.__notes__ == ["while planning"]
    assert arrived.ticket == 7
    assert not hasattr(arrived, "client")


def test_an_accepted_one_stays_accepted():
    error = exceeded()
    error.accept()
    assert pickle.loads(pickle.dumps(error)).is_accepted


def test_from_a_process_pool_it_arrives_with_its_notes():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(StepBudgetExceeded) as caught:
        pool.submit(fail_elsewhere).result()
    assert caught.value.__notes__ == ["while planning"]
    assert caught.value.response is None


@pytest.mark.interrupts
def test_a_time_limit_that_comes_while_a_budget_error_is_on_its_way_is_the_apps() -> None:
    with time_limit(), pytest.raises(TimeLimitError):
        with step("s", max_tokens=1, error_boundary="continue"):
            try:
                spend(5)
            except StepBudgetExceeded:
                by_signal()
