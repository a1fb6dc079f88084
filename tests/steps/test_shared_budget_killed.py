"""`kill -9` at any moment: no settled call is lost, and what was reserved comes back."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otel_harn_steps._steps.shared_budget import Amount, SharedBudget
from tests.steps.sharing import ASKED, LIMITS, times

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 12
IN_FLIGHT = 8


def killed_after(path: Path, count: int) -> bytes:
    """Start the program, watch it, and kill all of it when it has done so much. Returns what it has acknowledged."""
    budget = SharedBudget(path, busy_s=60)
    reading, writing = os.pipe()
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.steps.sharing", str(path), str(writing)],
        cwd=ROOT, pass_fds=[writing], start_new_session=True,
    )  # fmt: skip
    os.close(writing)
    done = b""
    while len(done) < count and (more := os.read(reading, 100)):
        done += more
        spent, reserved, *_ = budget.totals()
        assert LIMITS.crossed_by(spent.plus(reserved)) is None
        assert reserved.calls <= IN_FLIGHT
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    while more := os.read(reading, 1 << 16):  # to its end, when the last of them is gone
        done += more
    os.close(reading)
    budget.close()
    return done


def wait_for_ends(pids: set[int]) -> None:
    """What was killed has closed its files a moment before it is dead."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [])
            os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="not on Linux")
def test_no_kill_loses_what_was_settled_or_keeps_what_was_reserved(tmp_path):
    path = tmp_path / "budget.sqlite"
    seed = random.randrange(10**9)
    chosen = random.Random(seed)
    before = settled = 0
    for number in range(ROUNDS):
        where = f"round {number} of seed {seed}"
        done = killed_after(path, int(10 ** chosen.uniform(0, 3.3)))
        budget = SharedBudget(path)
        wait_for_ends({*budget.processes()} - {os.getpid()})
        spent, reserved, *_ = budget.totals()
        settled += done.count(b"s")
        assert spent.calls - before - done.count(b"s") in range(IN_FLIGHT + 1), where
        assert spent == times(spent.calls), where
        assert {*budget.processes()} <= {os.getpid()}, where
        # All that is left fits at once, which it can only without what the killed have reserved.
        left = Amount(calls=LIMITS.max_calls - spent.calls)
        granted = budget.reserve(left, LIMITS)
        assert (granted.crossed, granted.reserved) == (None, left), where
        assert not reserved.calls or reserved.input_tokens == reserved.calls * ASKED.input_tokens, where
        budget.release(granted.lease)
        before = spent.calls
        budget.close()
    assert settled
