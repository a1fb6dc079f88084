"""Stores with what a test writes into them, by the journal's own writer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from otel_harn_steps._telemetry.journal import Journal
from otel_harn_steps.store import RunFile
from tests.store.rows import ended, sent, settled, started

NS = 10**9
RUN = "7f3a91c2a0b1c2d3"


class Written:
    """A run that is being written. Times are seconds after its beginning."""

    def __init__(
        self, folder: Path, *, run_id: str = RUN, began_s: float | None = None, name: str = "agent.py"
    ) -> None:
        self.folder, self.run_id, self.name = folder, run_id, name
        self.began = int((time.time() - 60 if began_s is None else began_s) * NS)
        self.journal = Journal(folder, run_id=run_id, run_name=name)
        self._calls = 0

    def at(self, seconds: float) -> int:
        """A moment of the run, in nanoseconds since the epoch."""
        return self.began + int(seconds * NS)

    def start(self, path: str, at: float = 0.0, step_id: str | None = None, **fields: Any) -> None:
        """Enter a step."""
        parent = path.rpartition("/")[0]
        known = {"step_id": step_id or self.step_id(path), "parent_id": self.step_id(parent) if parent else None}
        self.journal.step_started(started(path, run_id=self.run_id, start_time=self.at(at), **(known | fields)))

    def end(self, path: str, at: float = 1.0, step_id: str | None = None, **fields: Any) -> None:
        """Leave it."""
        parent = path.rpartition("/")[0]
        known = {"step_id": step_id or self.step_id(path), "parent_id": self.step_id(parent) if parent else None}
        times = {"start_time": self.began, "end_time": self.at(at)}
        self.journal.step_ended(ended(path, run_id=self.run_id, **(times | known | fields)))

    def call(
        self, path: str = "", at: float = 0.5, usd: float = 0.001, *, is_open: bool = False, **fields: Any
    ) -> None:
        """Make a call, and settle it unless it `is_open`."""
        self._calls += 1
        call_id = f"{self.run_id}-{self._calls}"
        where = {"run_id": self.run_id, "sent_at": self.at(at)}
        if path:
            where["step_id"] = fields.pop("step_id", self.step_id(path))
        self.journal.call_sent(sent(call_id, path, **where))
        if not is_open:
            spent = {"cost_picousd": round(usd * 10**12), "duration_ns": NS // 2}
            self.journal.call_settled(settled(call_id, path, **(where | spent | fields)))

    def step_id(self, path: str) -> str:
        """The id that this run's step has, unless it was given another."""
        return f"{path} of {self.run_id}"

    def finish(self, at: float = 42.0, **fields: Any) -> None:
        """The program has ended."""
        self.journal.close()
        known = {"started_at": self.began, "ended_at": self.at(at), "exit_code": 0, "process_id": 1}
        RunFile(run_id=self.run_id, name=self.name, program=self.name, **(known | fields)).write(self.folder)


def newsletter(folder: Path, **options: Any) -> Written:
    """A whole run: a tree of steps, one of which went over its budget."""
    run = Written(folder, **options)
    run.start("newsletter", max_usd=0.1)
    run.call("newsletter", 0.1, 0.0004, input_tokens=15, output_tokens=993)
    run.start("newsletter/digest", 1)
    for at in (1.1, 2.1):
        run.call("newsletter/digest", at, 0.0062, input_tokens=1170, output_tokens=250, cache_read_tokens=500)
    run.end("newsletter/digest", 3)
    run.start("newsletter/weather", 3, max_tokens=5000)
    run.call("newsletter/weather", 3.1, 0.0183, model="claude-5", input_tokens=9463, output_tokens=582)
    run.end(
        "newsletter/weather", 5, status="skipped", breach="max_tokens", max_tokens=5000, error="over",
        input_tokens=9463, output_tokens=582,
    )  # fmt: skip
    run.end("newsletter", 6, max_usd=0.1)
    run.call("", 7, 0.0006, input_tokens=28, output_tokens=36)
    run.finish(limits={"max_usd": 0.5})
    return run
