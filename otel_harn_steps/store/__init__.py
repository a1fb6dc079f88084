"""What journals hold: `JournalReader` reads a folder of them, `RunSummary` adds up what it reads.

from otel_harn_steps.store import JournalReader, RunSummary

reader = JournalReader("journal")
summary = RunSummary(reader.poll())
"""

from __future__ import annotations

from otel_harn_steps.store._reading import DamagedLine, JournalEvent, JournalReader, JournalVersionError
from otel_harn_steps.store._spend import ProcessState, Spend, StepSpend
from otel_harn_steps.store._summary import RunSummary

__all__ = [
    "DamagedLine",
    "JournalEvent",
    "JournalReader",
    "JournalVersionError",
    "ProcessState",
    "RunSummary",
    "Spend",
    "StepSpend",
]

for _public in (
    DamagedLine,
    JournalEvent,
    JournalReader,
    JournalVersionError,
    ProcessState,
    RunSummary,
    Spend,
    StepSpend,
):
    _public.__module__ = __name__
