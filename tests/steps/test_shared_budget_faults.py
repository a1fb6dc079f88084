"""What goes wrong with the budget that processes share: it raises, changes nothing, and never hangs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from otel_harn_steps._steps.shared_budget import Amount, SharedBudget, SharedBudgetError, SharedLimits
from tests.steps.sharing import CALL, times

ROOT = Path(__file__).parent.parent.parent
TEN_CALLS = SharedLimits(max_calls=10)
NOTHING = Amount()


def test_a_budget_that_others_hold_for_too_long_raises_and_is_there_again_later(path):
    budget = SharedBudget(path, busy_s=0.001)
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(SharedBudgetError, match="locked"):
            budget.reserve(CALL, TEN_CALLS)
        holder.execute("ROLLBACK")
    holder.close()

    assert budget.reserve(CALL, TEN_CALLS).reserved == CALL
    budget.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 500, b"", b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_file_raises(damage, budget, path):
    budget.reserve(CALL, TEN_CALLS)
    path.write_bytes(damage)

    for use in (budget.totals, lambda: budget.reserve(CALL, TEN_CALLS), lambda: SharedBudget(path).settle(None, CALL)):
        with pytest.raises(SharedBudgetError):
            use()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM state", "UPDATE state SET spent = 'x'", "UPDATE state SET spent = x'00'", "DROP TABLE state"],
)
def test_a_file_with_other_contents_raises(statement, budget, path):
    with sqlite3.connect(path) as meddler:
        meddler.execute(statement)
    meddler.close()

    with pytest.raises(SharedBudgetError):
        budget.totals()


def test_a_file_that_is_gone_or_replaced_raises_and_is_not_made_again(budget, path):
    path.unlink()
    with pytest.raises(SharedBudgetError):
        budget.settle(None, CALL)
    assert not path.exists()
    SharedBudget(path).close()
    with pytest.raises(SharedBudgetError, match="replaced"):
        budget.settle(None, CALL)
    budget.close()
    with pytest.raises(SharedBudgetError, match="replaced"):
        budget.settle(None, CALL)


def test_a_folder_that_is_gone_raises(path):
    with pytest.raises(SharedBudgetError):
        SharedBudget(path.parent / "nowhere" / "budget.sqlite")


@pytest.mark.skipif(os.name != "posix", reason="no limits of files here")
def test_a_full_disk_raises_and_what_was_counted_stays(budget, path):
    lease = budget.reserve(CALL, TEN_CALLS).lease
    program = (
        "import resource, sys; from otel_harn_steps._steps.shared_budget import *\n"
        "budget = SharedBudget(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: budget.settle(None, Amount(1, 1, 1, 1))\n"
        "except SharedBudgetError as error: print('raised')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.stdout == "raised\n", ran.stderr
    assert budget.settle(lease, CALL)[:2] == (CALL, NOTHING)


def test_an_interrupt_in_the_middle_leaves_nothing_half_done(path):
    interrupts = []

    def interrupting() -> float:
        if interrupts:
            raise interrupts.pop()
        return 0

    budget, other = SharedBudget(path, clock=interrupting), SharedBudget(path, busy_s=0.001)
    budget.reserve(CALL, TEN_CALLS)
    interrupts.append(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        budget.reserve(CALL, TEN_CALLS)

    assert other.reserve(CALL, TEN_CALLS).reserved == times(2)
    assert budget.reserve(CALL, TEN_CALLS).reserved == times(3)
    for each in (budget, other):
        each.close()


def test_what_is_used_in_the_middle_of_its_own_work_raises_and_does_not_hang(path):
    raised = []

    def meddling() -> float:
        with pytest.raises(SharedBudgetError) as caught:
            budget.settle(None, CALL)
        raised.append(caught.value)
        return 0

    budget = SharedBudget(path, clock=meddling)

    assert budget.reserve(CALL, TEN_CALLS).reserved == CALL
    assert budget.totals().spent == NOTHING
    assert len(raised) == 1
    budget.close()
