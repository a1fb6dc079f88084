"""Four processes of two threads each, which share a budget until they are killed: python -m tests.steps.sharing PATH FD.

They write into FD what they have done: `r` for a reservation, `s` when it has settled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from otel_harn_steps._steps.shared_budget import Amount, SharedBudget, SharedLimits

CALL = Amount(100, 20, 27_000_000, 1)
ASKED = Amount(100, 40, 30_000_000, 1)
LIMITS = SharedLimits(max_calls=1_000_000, max_tokens=140 * 1_000_000)


def times(count: int, amount: Amount = CALL) -> Amount:
    """So many of them."""
    return Amount(*(count * each for each in amount))


def work(budget: SharedBudget, acknowledge: int) -> None:
    """Reserve, grow, and settle, for ever."""
    while True:
        lease = budget.reserve(ASKED, LIMITS).lease
        os.write(acknowledge, b"r")
        assert lease is not None
        budget.grow(lease, ASKED.plus(Amount(output_tokens=1)), LIMITS)
        budget.settle(lease, CALL)
        os.write(acknowledge, b"s")


def work_in_threads(budget: SharedBudget, acknowledge: int) -> None:
    """Two of them."""
    threading.Thread(target=work, args=(budget, acknowledge), daemon=True).start()
    work(budget, acknowledge)


if __name__ == "__main__":
    path, acknowledge = sys.argv[1], int(sys.argv[2])
    budget = SharedBudget(path, busy_s=60)
    if "spawned" not in sys.argv:
        subprocess.Popen(
            [sys.executable, "-m", "tests.steps.sharing", *sys.argv[1:], "spawned"], pass_fds=[acknowledge]
        )
        budget.totals()  # what is forked comes from a process that is connected
        if os.fork():
            os.fork()
    work_in_threads(budget, acknowledge)
