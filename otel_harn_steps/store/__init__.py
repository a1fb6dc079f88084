"""What journals hold.

`JournalReader` reads a folder of them and `RunSummary` adds up what it reads: that needs nothing else. `Store` keeps an
index, and answers questions about many runs. It needs the `cli` extra.

from otel_harn_steps.store import JournalReader, RunSummary

reader = JournalReader("journal")
summary = RunSummary(reader.poll())
"""

from __future__ import annotations

from typing import Any, Final

from otel_harn_steps.store._json import to_json
from otel_harn_steps.store._reading import DamagedLine, JournalEvent, JournalReader, JournalVersionError
from otel_harn_steps.store._run_files import RunFile
from otel_harn_steps.store._spend import ProcessState, Spend, StepSpend
from otel_harn_steps.store._summary import RunSummary
from otel_harn_steps.store._views import (
    DIMENSIONS,
    Costs,
    Filter,
    ProcessRow,
    Report,
    Row,
    RunDetail,
    RunRow,
    Series,
    StepRun,
)

__all__ = [
    "DIMENSIONS",
    "Costs",
    "DamagedLine",
    "Filter",
    "IndexVersionError",
    "JournalEvent",
    "JournalReader",
    "JournalVersionError",
    "ProcessRow",
    "ProcessState",
    "Report",
    "Row",
    "RunDetail",
    "RunFile",
    "RunRow",
    "RunSummary",
    "Series",
    "Spend",
    "StepRun",
    "StepSpend",
    "Store",
    "to_json",
]

_LAZY: Final = {"IndexVersionError": "_index", "Store": "_store"}
"""Imported at their first use: they need an extra."""

for _public in (
    Costs,
    DamagedLine,
    Filter,
    JournalEvent,
    JournalReader,
    JournalVersionError,
    ProcessRow,
    ProcessState,
    Report,
    Row,
    RunDetail,
    RunFile,
    RunRow,
    RunSummary,
    Series,
    Spend,
    StepRun,
    StepSpend,
):
    _public.__module__ = __name__


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- only for the lazy names

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
