"""The ledger, as far as this version of the core has it."""

from __future__ import annotations

import importlib
from typing import Any

from otel_harn_steps._telemetry.journal import Journal


def open_run(run_id: str, name: str) -> None:
    """Open the run in this process: it claims the calls that no step does."""
    account = _account()
    if account is not None:
        account.open_run(run_id, name)


def sink_of(journal: Journal) -> Any:
    """The journal, as a sink that the core takes: one of calls and steps, or of records alone."""
    return journal.step_ended if _account() is None else journal


def _account() -> Any:
    try:
        return importlib.import_module("otel_harn_steps._steps.account")
    except ModuleNotFoundError:
        return None
