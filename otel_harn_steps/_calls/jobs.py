"""Work that a provider does in the background: its usage is reported where the result is fetched.

It is billed there, once. Until then, and where the result is not fetched in time, its start is a call without usage.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

from otel_harn_steps._process import in_forked_child

if TYPE_CHECKING:
    from otel_harn_steps._calls.meter import Meter

_MOST_JOBS = 4096
_JobKey = tuple[str, str]
"""The client library's name, and the provider's id of the job."""


class _Jobs:
    """The jobs of this process; the oldest are forgotten."""

    def __init__(self) -> None:
        self._meters: dict[_JobKey, Meter | None] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """Begin with a new lock in a forked child: another thread may have held the old one."""
        self._lock = RLock()  # reentrant, as that of a tree of steps

    def started(self, job: _JobKey, meter: Meter) -> None:
        """Bill the start of a job when its step ends, unless the result is fetched before."""
        meter.job_started()
        self._keep(job, meter)

    def is_first_fetch(self, job: _JobKey) -> bool:
        """Whether the result of a job has not been fetched before. Its start is no call of its own then."""
        with self._lock:
            is_first = job not in self._meters or self._meters[job] is not None
            start = self._meters.get(job)
        self._keep(job, None)
        if start is not None:
            start.abandoned()
        return is_first

    def is_known(self, job: _JobKey) -> bool:
        """Whether the job was started here, or its result has been fetched here."""
        return job in self._meters

    def _keep(self, job: _JobKey, meter: Meter | None) -> None:
        with self._lock:
            if len(self._meters) >= _MOST_JOBS:
                del self._meters[next(iter(self._meters))]
            self._meters[job] = meter


jobs = _Jobs()
in_forked_child(jobs.renew_lock)
