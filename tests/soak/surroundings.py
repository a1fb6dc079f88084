"""Where records and spans go, and fail; and what must not grow meanwhile."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_harn_steps as harn
from otel_harn_steps import CallRow, CompletedStep

MOST_GROWN_MIB = 12.0
MOST_GROWN_DESCRIPTORS = 4


class Ledger:
    """Adds up rows and records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows = Counter[str]()
        self.records = Counter[str]()

    def call_settled(self, row: CallRow) -> None:
        """Add a call."""
        with self._lock:
            self.rows.update(input_tokens=row.input_tokens or 0, output_tokens=row.output_tokens or 0)
            self.rows.update(cost_picousd=row.cost_picousd or 0)

    def step_ended(self, record: CompletedStep) -> None:
        """Add a step, or an amendment."""
        with self._lock:
            self.records.update(input_tokens=record.input_tokens, output_tokens=record.output_tokens)


class FaultyExporter(SpanExporter):
    """Fails, dawdles, raises."""

    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)

    def export(self, spans: Any) -> SpanExportResult:
        """Take what it likes."""
        assert all(isinstance(each, ReadableSpan) for each in spans)
        chance = self._choose.random()
        if chance < 0.2:
            raise ConnectionError("no collector")
        time.sleep(0.01 if chance < 0.4 else 0)
        return SpanExportResult.FAILURE if chance < 0.6 else SpanExportResult.SUCCESS


def break_the_disk(folder: Path, choose: random.Random) -> None:
    """Take the journal's folder away, or put a file in its place, for a moment."""
    aside = folder.with_name("aside")
    with contextlib.suppress(OSError):
        if choose.random() < 0.5:
            folder.rename(aside)
            folder.touch()
            time.sleep(0.05)
            folder.unlink()
            aside.rename(folder)
        else:
            shutil.rmtree(folder)


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure() -> dict[str, float]:
    """What must not grow."""
    gc.collect()
    harn.drain_completed_steps()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {"MiB": resident_mib(), "descriptors": descriptors, "threads": threading.active_count()}


def grown(before: dict[str, float], after: dict[str, float], *, most_mib: float = MOST_GROWN_MIB) -> list[str]:
    """What has grown too much."""
    most = {"MiB": most_mib, "descriptors": MOST_GROWN_DESCRIPTORS, "threads": 0}
    return [
        f"{name} grew from {before[name]:.1f} to {after[name]:.1f}"
        for name, allowed in most.items()
        if after[name] - before[name] > allowed
    ]
