"""Whatever reserves, grows, settles, is corrected, released, killed or expires, in whatever order: the shared budget adds up,
and by reservation no limit is crossed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from otel_harn_steps._steps.shared_budget import Amount, Reserved, SharedBudget, SharedLimits

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
NOTHING = Amount()
LIMITS = SharedLimits(max_tokens=60, max_input_tokens=50, max_output_tokens=30, max_picousd=10**20, max_calls=8)
LEASE_S = 100.0
AMOUNTS = st.builds(Amount, st.integers(0, 30), st.integers(0, 20), st.integers(0, 10**20), st.integers(0, 2))
HANDLES = st.integers(0, 2)


def total(amounts) -> Amount:
    found = NOTHING
    for each in amounts:
        found = found.plus(each)
    return found


class SharedBudgetMachine(RuleBasedStateMachine):
    """Three handles of one file, as three processes have them, and children that are killed with what they have."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now_s = 0.0
        path = Path(self.folder.name) / "budget.sqlite"
        self.handles = [SharedBudget(path, lease_s=LEASE_S, clock=lambda: self.now_s) for _ in range(3)]
        self.held: dict[int, Amount] = {}
        self.expires_s: dict[int, float] = {}
        self.settled: dict[int | str, Amount] = {}
        self.killed: dict[int, Amount] = {}
        self.ended_by: str | None = None

    def spent(self) -> Amount:
        return total(self.settled.values())

    def reserved(self) -> Amount:
        return total((*self.held.values(), *self.killed.values()))

    def take_back(self) -> None:
        """What comes back when a call would not fit otherwise."""
        self.killed.clear()
        for lease, expires_s in self.expires_s.items():
            if expires_s <= self.now_s and lease in self.held:
                self.held[lease] = NOTHING

    def check(self, granted: Reserved, more: Amount, whole: Amount) -> bool:
        """Whether it was granted, as it had to be."""
        crossed = LIMITS.crossed_by(self.spent().plus(self.reserved()).plus(more))
        fits_later = LIMITS.crossed_by(self.spent().plus(whole)) is None
        if crossed is not None and fits_later:
            self.take_back()
            crossed = LIMITS.crossed_by(self.spent().plus(self.reserved()).plus(more))
        assert granted.crossed == crossed
        assert granted.fits_later == (crossed is None or fits_later)
        assert granted.spent == self.spent()
        assert granted.reserved == (self.reserved() if crossed else self.reserved().plus(more))
        if crossed is None:
            assert LIMITS.crossed_by(granted.spent.plus(granted.reserved)) is None
        return crossed is None

    @rule(target=leases, handle=HANDLES, asked=AMOUNTS)
    def reserve(self, handle, asked):
        granted = self.handles[handle].reserve(asked, LIMITS)
        if self.ended_by is not None:
            assert granted == (None, self.ended_by, False, self.spent(), self.reserved())
            return multiple()
        if not self.check(granted, asked, asked):
            assert granted.lease is None
            return multiple()
        assert granted.lease not in {*self.held, *self.settled}
        self.held[granted.lease], self.expires_s[granted.lease] = asked, self.now_s + LEASE_S
        return granted.lease

    @rule(handle=HANDLES, lease=leases, to=AMOUNTS)
    def grow(self, handle, lease, to):
        granted = self.handles[handle].grow(lease, to, LIMITS)
        if lease in self.settled and lease not in self.held:
            assert granted == (lease, None, True, self.spent(), self.reserved())
            return
        self.expires_s[lease] = self.now_s + LEASE_S
        more = to.minus(self.held.get(lease, NOTHING))
        if max(more) <= 0:
            assert granted.crossed is None
        elif not self.check(granted, more, to):
            return
        self.held[lease] = to
        assert granted.lease == lease

    @rule(handle=HANDLES, lease=leases, spent=AMOUNTS)
    def settle(self, handle, lease, spent):
        """At first, or once more, or after it was released."""
        self.held.pop(lease, None)
        self.settled[lease] = spent
        assert self.handles[handle].settle(lease, spent)[:2] == (self.spent(), self.reserved())

    @rule(handle=HANDLES, spent=AMOUNTS)
    def settle_without_a_lease(self, handle, spent):
        self.settled[f"without {len(self.settled)}"] = spent
        assert self.handles[handle].settle(None, spent).spent == self.spent()

    @rule(handle=HANDLES, lease=consumes(leases))
    def release(self, handle, lease):
        self.held.pop(lease, None)
        assert self.handles[handle].release(lease).reserved == self.reserved()

    @precondition(lambda self: self.ended_by is None)
    @rule(handle=HANDLES, asked=AMOUNTS)
    def reserve_and_be_killed(self, handle, asked):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                granted = self.handles[handle].reserve(asked, LIMITS)
                os.write(writing, b"granted" if granted.lease else b"refused")
                signal.pause()
            os._exit(1)
        os.close(writing)
        outcome = os.read(reading, 100)
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        crossed = LIMITS.crossed_by(self.spent().plus(self.reserved()).plus(asked))
        if crossed is not None and LIMITS.crossed_by(self.spent().plus(asked)) is None:
            self.take_back()
            crossed = LIMITS.crossed_by(self.spent().plus(self.reserved()).plus(asked))
        assert outcome == (b"refused" if crossed else b"granted")
        if crossed is None:
            self.killed[child] = self.killed.get(child, NOTHING).plus(asked)

    @rule(seconds=st.sampled_from([1.0, 99.0, 100.0]))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule(handle=HANDLES)
    def open_again(self, handle):
        self.handles[handle].close()

    @rule(handle=HANDLES, limit=st.sampled_from(["max_usd", "max_calls"]), really=st.integers(0, 5))
    def end(self, handle, limit, really):
        if really == 0:
            self.ended_by = self.ended_by or limit
            assert self.handles[handle].note_ended(limit).ended_by == self.ended_by

    @invariant()
    def adds_up(self):
        assert self.handles[0].totals()[:3] == (self.spent(), self.reserved(), self.ended_by)

    def teardown(self):
        for each in self.handles:
            each.close()
        self.folder.cleanup()


TestSharedBudget = SharedBudgetMachine.TestCase
TestSharedBudget.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
