"""What each step has spent in all processes of a run, for the table at its end.

Each process keeps one small file with a slot of fixed size for each step name, and writes the slot anew at every
record. So a killed process loses nothing that it has finished, and the files do not grow with the number of records,
as a log of them would in a server that runs for weeks.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from otel_harn_steps._cost.money import PICOUSD_PER_USD
from otel_harn_steps._telemetry.record import CompletedStep

_SLOT_BYTES: Final = 512
_MOST_NAMES: Final = 1000


@dataclass(slots=True)
class Spend:
    """What a step has spent by itself, over all of its runs."""

    runs: int = 0
    completed: int = 0
    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_picousd: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    duration_ns: int = 0

    def add(self, other: Spend) -> None:
        """Add what another has spent."""
        for each in fields(Spend):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @classmethod
    def of(cls, record: CompletedStep) -> Spend:
        """What one run has spent."""
        return cls(
            runs=1,
            completed=int(record.status == "completed"),
            llm_calls=record.llm_calls,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            cost_picousd=round(record.cost_usd * PICOUSD_PER_USD),
            unpriced_calls=record.unpriced_calls,
            unmetered_calls=record.unmetered_calls,
            duration_ns=record.end_time - record.start_time,
        )


class SpendSink:
    """Receives the records of this process. After a fork the child begins its own file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._slots: dict[str, tuple[int, Spend]] = {}

    def __call__(self, record: CompletedStep) -> None:
        """Add `record` to its step's slot.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            if self._descriptor is None:
                path = self._folder / f"spend-{os.getpid()}-{os.urandom(4).hex()}"
                self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            name = record.name if record.name in self._slots or len(self._slots) < _MOST_NAMES else "(others)"
            slot, spend = self._slots.setdefault(name, (len(self._slots), Spend()))
            spend.add(Spend.of(record))
            os.pwrite(self._descriptor, _slot(name, spend), slot * _SLOT_BYTES)


def _slot(name: str, spend: Spend) -> bytes:
    numbers = list(asdict(spend).values())
    short = name.encode()[:200].decode(errors="ignore")
    line = json.dumps([short, *numbers], ensure_ascii=False).encode()
    return line[: _SLOT_BYTES - 1].ljust(_SLOT_BYTES - 1) + b"\n"


def read_spend(folder: Path) -> dict[str, Spend]:
    """What every process has written, by step name."""
    total: dict[str, Spend] = {}
    for path in sorted(folder.glob("spend-*")):
        for name, spend in _read(path.read_bytes().splitlines()):
            total.setdefault(name, Spend()).add(spend)
    return total


def _read(lines: Iterable[bytes]) -> Iterable[tuple[str, Spend]]:
    for line in lines:
        try:
            name, *numbers = json.loads(line)
        except ValueError:  # a process was killed between two bytes
            continue
        yield name, Spend(*numbers)
