"""For those who test an app: what its steps cost. For those who write a provider: whether it bills what was recorded.

Needs no test runner: a check raises `AssertionError` where something differs. pytest finds its fixtures by itself.
"""

from __future__ import annotations

from otel_harn_steps._guard import raise_own_faults
from otel_harn_steps.testing._answers import Answer, Received, Script
from otel_harn_steps.testing._capture import CapturedStep, CapturedSteps, capture_steps
from otel_harn_steps.testing._cases import NO_CALL, UNMETERED_CALL, Bill, RecordedCase, load_case
from otel_harn_steps.testing._check import check_provider
from otel_harn_steps.testing._cost_snapshot import CostSnapshot
from otel_harn_steps.testing._server import Exchange, ReplayServer
from otel_harn_steps.testing._snapshot_files import CostSnapshotError

__all__ = [
    "NO_CALL",
    "UNMETERED_CALL",
    "Answer",
    "Bill",
    "CapturedStep",
    "CapturedSteps",
    "CostSnapshot",
    "CostSnapshotError",
    "Exchange",
    "Received",
    "RecordedCase",
    "ReplayServer",
    "Script",
    "capture_steps",
    "check_provider",
    "load_case",
    "raise_own_faults",
]
