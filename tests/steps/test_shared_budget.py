"""The budget that all processes of a run share: what is reserved, settled and given back."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_harn_steps._steps.shared_budget import Amount, SharedBudget, SharedLimits
from tests.steps.sharing import CALL, times

ROOT = Path(__file__).parent.parent.parent
TEN_CALLS = SharedLimits(max_calls=10)
UNLIMITED = SharedLimits()
NOTHING = Amount()


@pytest.fixture
def other(budget, path):
    """Another one over the same file, as another process has."""
    other = SharedBudget(path)
    yield other
    other.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


# -- reserve and settle ------------------------------------------------------------------------------------------------


def test_what_is_reserved_here_is_missing_there_until_it_settles(budget, other):
    ours = budget.reserve(times(6), TEN_CALLS)
    refused = other.reserve(times(5), TEN_CALLS)
    budget.settle(ours.lease, times(2))
    granted = other.reserve(times(5), TEN_CALLS)

    assert (refused.lease, refused.crossed, refused.fits_later) == (None, "max_calls", True)
    assert (refused.spent, refused.reserved) == (NOTHING, times(6))
    assert (granted.crossed, granted.spent, granted.reserved) == (None, times(2), times(5))


def test_what_would_not_fit_without_anything_in_flight_does_not_fit_later(budget):
    budget.settle(None, times(6))
    budget.reserve(times(1), TEN_CALLS)

    assert not budget.reserve(times(5), TEN_CALLS).fits_later


@pytest.mark.parametrize(
    ("limits", "crossed"),
    [
        (SharedLimits(max_tokens=120), "max_tokens"),
        (SharedLimits(max_input_tokens=100), "max_input_tokens"),
        (SharedLimits(max_output_tokens=20), "max_output_tokens"),
        (SharedLimits(max_picousd=27_000_000), "max_usd"),
        (SharedLimits(max_calls=1), "max_calls"),
    ],
)
def test_a_limit_may_be_reached_and_not_crossed(limits, crossed, budget):
    fits = budget.reserve(CALL, limits)
    refused = budget.reserve(Amount(1, 1, 1, 1), limits)

    assert fits.crossed is None
    assert refused.crossed == crossed
    assert budget.totals().reserved == CALL


def test_a_run_s_budget_in_dollars_becomes_a_limit_to_the_picodollar():
    limits = SharedLimits.of({"max_usd": 0.1, "max_calls": 40, "max_seconds": 600.0})

    assert limits == SharedLimits(max_picousd=10**11, max_calls=40)


def test_what_was_spent_is_added_whatever_the_limits_say(budget):
    reserved = budget.reserve(CALL, TEN_CALLS)
    totals = budget.settle(reserved.lease, times(50))

    assert (totals.spent, totals.reserved) == (times(50), NOTHING)


def test_a_lease_settled_again_counts_with_the_last_amount_alone(budget, other):
    lease = budget.reserve(CALL, TEN_CALLS).lease
    budget.settle(lease, CALL)

    assert other.settle(lease, times(3)).spent == times(3)
    assert budget.settle(lease, CALL).spent == CALL


def test_a_released_lease_has_spent_nothing_and_its_number_is_not_given_again(budget):
    lease = budget.reserve(CALL, TEN_CALLS).lease
    released = budget.release(lease)

    assert (released.spent, released.reserved) == (NOTHING, NOTHING)
    assert budget.release(lease) == released
    assert budget.reserve(CALL, TEN_CALLS).lease != lease
    assert budget.settle(lease, CALL).spent == CALL  # the money is spent all the same


def test_sums_are_exact_beyond_what_a_database_can_count(budget, other):
    most = Amount(0, 0, 10**19 + 1, 1)  # ten million dollars
    for each in (budget, other):
        each.settle(each.reserve(most, UNLIMITED).lease, most)

    assert budget.totals().spent == times(2, most)
    assert budget.reserve(most, SharedLimits(max_picousd=3 * 10**19)).crossed == "max_usd"


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_reserves_more_as_it_grows_until_that_does_not_fit(budget):
    limits = SharedLimits(max_output_tokens=100)
    lease = budget.reserve(Amount(5, 40, 0, 1), limits).lease
    grown = budget.grow(lease, Amount(5, 100, 0, 1), limits)
    refused = budget.grow(lease, Amount(5, 101, 0, 1), limits)

    assert (grown.lease, grown.crossed, grown.reserved) == (lease, None, Amount(5, 100, 0, 1))
    assert (refused.lease, refused.crossed, refused.fits_later) == (lease, "max_output_tokens", False)
    assert budget.totals().reserved == Amount(5, 100, 0, 1)


def test_a_lease_can_be_renewed_and_lowered_where_others_have_spent_too_much(budget):
    lease = budget.reserve(times(5), TEN_CALLS).lease
    budget.settle(None, times(20))

    assert budget.grow(lease, times(5), TEN_CALLS).crossed is None
    assert budget.grow(lease, times(4), TEN_CALLS).reserved == times(4)


def test_a_settled_lease_does_not_grow(budget):
    lease = budget.reserve(CALL, TEN_CALLS).lease
    budget.settle(lease, CALL)

    assert budget.grow(lease, times(3), TEN_CALLS).reserved == NOTHING


# -- the end -----------------------------------------------------------------------------------------------------------


def test_the_first_limit_that_ends_the_run_stays_and_nothing_is_reserved_after_it(budget, other):
    assert budget.note_refused() == 0
    budget.note_ended("max_usd")
    other.note_ended("max_calls")
    refused = other.reserve(CALL, UNLIMITED)

    assert (refused.crossed, refused.lease, refused.fits_later) == ("max_usd", None, False)
    assert [each.note_refused() for each in (budget, other, budget)] == [1, 2, 3]
    assert (other.totals().ended_by, other.totals().refused) == ("max_usd", 3)


# -- leases that come back ---------------------------------------------------------------------------------------------


def test_an_expired_lease_comes_back_when_another_call_needs_its_room(path):
    clock = Clock()
    budget = SharedBudget(path, lease_s=60, clock=clock)
    lost, renewed = budget.reserve(times(6), TEN_CALLS).lease, budget.reserve(times(2), TEN_CALLS).lease
    clock.now_s += 59
    too_early = budget.reserve(times(3), TEN_CALLS)
    budget.grow(renewed, times(2), TEN_CALLS)
    clock.now_s += 1
    in_time = budget.reserve(times(8), TEN_CALLS)

    assert (too_early.crossed, in_time.crossed) == ("max_calls", None)
    assert in_time.reserved == times(10)
    late = budget.settle(lost, times(6))
    assert (late.spent, late.reserved) == (times(6), times(10))  # spent, however late
    budget.close()


def test_an_expired_lease_can_reserve_again_if_there_is_room(path):
    clock = Clock()
    budget = SharedBudget(path, lease_s=60, clock=clock)
    lease = budget.reserve(times(6), TEN_CALLS).lease
    clock.now_s += 60
    budget.reserve(times(7), TEN_CALLS)

    assert budget.grow(lease, times(4), TEN_CALLS).crossed == "max_calls"
    assert budget.grow(lease, times(3), TEN_CALLS).reserved == times(10)
    budget.close()


def test_the_last_ten_thousand_leases_can_be_corrected_and_an_older_one_stays_as_it_was(budget):
    first = budget.reserve(CALL, UNLIMITED).lease
    in_flight = budget.reserve(times(7), UNLIMITED).lease
    budget.settle(first, CALL)
    for _ in range(10_300):
        last = budget.reserve(CALL, UNLIMITED).lease
        budget.settle(last, CALL)

    assert budget.settle(first, times(5)).spent == times(10_301)
    assert budget.settle(last, times(5)).spent == times(10_305)
    assert budget.settle(in_flight, times(7)).spent == times(10_312)


# -- threads, forks, processes -----------------------------------------------------------------------------------------


def reserve_and_settle(budget: SharedBudget, count: int) -> int:
    """Returns how many calls fitted."""
    fitted = 0
    for _ in range(count):
        reserved = budget.reserve(CALL, SharedLimits(max_calls=100))
        if reserved.lease is not None:
            fitted += 1
            budget.settle(reserved.lease, CALL)
    return fitted


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def forked(work: Callable[[], int]) -> int:
    """A child that does the work, and exits with what it returns."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of threads
        child = os.fork()
    if child == 0:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    return child


def test_threads_share_a_budget_to_the_last_call(budget):
    with ThreadPoolExecutor(8) as pool:
        fitted = sum(pool.map(lambda _: reserve_and_settle(budget, 20), range(8)))

    assert fitted == 100
    assert budget.totals()[:2] == (times(100), NOTHING)


@forks
def test_children_forked_while_threads_are_at_work_share_it_too(budget):
    with ThreadPoolExecutor(2) as pool:
        at_work = [pool.submit(reserve_and_settle, budget, 30) for _ in range(2)]
        children = [forked(lambda: reserve_and_settle(budget, 30)) for _ in range(5)]
        fitted = sum(each.result() for each in at_work)
    fitted += sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)

    assert fitted == 100
    assert budget.totals()[:2] == (times(100), NOTHING)


@forks
def test_what_a_child_has_reserved_comes_back_as_soon_as_it_is_dead(budget):
    child = forked(lambda: budget.reserve(times(8), TEN_CALLS).lease)
    # Dead, and not waited for: a zombie.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    left = budget.totals().reserved
    granted = budget.reserve(times(10), TEN_CALLS)
    os.waitpid(child, 0)

    assert (left, granted.crossed, granted.reserved) == (times(8), None, times(10))


@forks
def test_living_processes_that_have_asked_for_something_are_known(budget):
    budget.totals()
    before = budget.processes()
    budget.reserve(CALL, TEN_CALLS)
    os.waitpid(forked(lambda: budget.reserve(CALL, TEN_CALLS).lease), 0)

    assert (before, budget.processes()) == ([], [os.getpid()])


def test_several_processes_that_make_the_file_at_once_make_one(path):
    program = (
        "import sys; from otel_harn_steps._steps.shared_budget import *\n"
        "sys.stdin.readline()\n"
        "SharedBudget(sys.argv[1]).settle(None, Amount(1, 2, 3, 1))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=-1, cwd=ROOT, text=True) for _ in range(4)
    ]
    for each in processes:
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in processes:
        each.communicate()
    with_one = SharedBudget(path)

    assert with_one.totals().spent == Amount(4, 8, 12, 4)
    assert {each.name for each in path.parent.iterdir()} <= {"budget.sqlite", "budget.sqlite-journal"}
    with_one.close()


@pytest.mark.skipif(os.name != "posix", reason="no permissions here")
def test_the_file_is_for_its_owner_alone(budget, path):
    budget.settle(None, CALL)

    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="measuring coverage imports it")
def test_importing_the_package_does_not_load_sqlite():
    program = "import sys, otel_harn_steps, otel_harn_steps._steps.shared_budget; print('sqlite3' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"
