"""Work that a provider does in the background: what it used is told where its result is fetched.

It is billed there, once. Until then, and where nobody fetches it in time, its start is a call without usage.
"""

from __future__ import annotations

from threading import Lock

from otel_harn_steps._calls.meter import Meter

_MOST_JOBS = 4096


class Jobs:
    """The jobs of one provider, by id; the oldest are forgotten."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter | None] = {}
        self._lock = Lock()

    def started(self, job_id: str, meter: Meter) -> None:
        """Bill the start of a job when its step ends, should nobody fetch the result before."""
        meter.stream_opened()
        self._keep(job_id, meter)

    def is_first_fetch(self, job_id: str) -> bool:
        """Whether the result of a job has not been fetched before. Its start is no call of its own then."""
        with self._lock:
            is_first = job_id not in self._meters or self._meters[job_id] is not None
            start = self._meters.get(job_id)
        self._keep(job_id, None)
        if start is not None:
            start.abandoned()
        return is_first

    def is_known(self, job_id: str) -> bool:
        """Whether the job was started here, or its result has been fetched here."""
        return job_id in self._meters

    def _keep(self, job_id: str, meter: Meter | None) -> None:
        with self._lock:
            if len(self._meters) >= _MOST_JOBS:
                del self._meters[next(iter(self._meters))]
            self._meters[job_id] = meter
