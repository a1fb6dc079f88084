"""For those who write a provider: whether it bills what was recorded, and the app sees no difference.

Needs no test runner: a check raises `AssertionError` where something differs.
"""

from __future__ import annotations

from otel_harn_steps._guard import raise_own_faults
from otel_harn_steps.testing._answers import Answer, Received, Script
from otel_harn_steps.testing._cases import NO_CALL, UNMETERED_CALL, Bill, RecordedCase, load_case
from otel_harn_steps.testing._check import check_provider
from otel_harn_steps.testing._server import Exchange, ReplayServer

__all__ = [
    "NO_CALL",
    "UNMETERED_CALL",
    "Answer",
    "Bill",
    "Exchange",
    "Received",
    "RecordedCase",
    "ReplayServer",
    "Script",
    "check_provider",
    "load_case",
    "raise_own_faults",
]
