"""The ledger, as far as this version of the core has it."""

from __future__ import annotations

import importlib
from typing import Any, Final

from otel_harn_steps._telemetry.journal import Journal

RUN_ID: Final = "OTEL_HARN_STEPS_RUN_ID"
RUN_NAME: Final = "OTEL_HARN_STEPS_RUN_NAME"
"""What the processes below `otel-harn-steps run` join the run by."""


def join_run() -> None:
    """Join the run that the environment names: it claims the calls that no step does."""
    core = _core()
    if core is not None:
        core.join_run()


def sink_of(journal: Journal) -> Any:
    """The journal, as a sink that the core takes: one of calls and steps, or of records alone."""
    return journal.step_ended if _core() is None else journal


def _core() -> Any:
    try:
        return importlib.import_module("otel_harn_steps._steps.program_run")
    except ModuleNotFoundError:
        return None
