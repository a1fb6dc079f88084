"""What a process below `otel-harn-steps run` does before the app begins."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

from otel_harn_steps._guard import guard
from otel_harn_steps.cli._folder import RunFolder
from otel_harn_steps.cli._spend import SpendSink
from otel_harn_steps.config._finding import RUN_FOLDER
from otel_harn_steps.config._starting import start

# Nobody has chosen what the program is made of: a run looks at all of it, unless the file says otherwise.
_ON_IN_A_RUN: Final = {"threads": True, "unseen_calls": True}
_joined_with: Any = None
"""The tracer provider that this process had when it joined."""


def join(**providers: Any) -> None:
    """Take part in the run. Called again, with an SDK that was not there before, it does so with that."""
    global _joined_with  # noqa: PLW0603 -- the one place that sets it
    path = os.environ.get(RUN_FOLDER)
    if not path or _joined_with is trace.get_tracer_provider():
        return
    with guard("joining otel-harn-steps run"):
        folder = RunFolder(Path(path))
        plan, with_sdk = folder.read()
        if with_sdk:
            from otel_harn_steps.cli._sdk import set_up_sdk  # noqa: PLC0415 -- costs most of the start, where wanted

            set_up_sdk()
        plan = replace(plan, options={**_ON_IN_A_RUN, **plan.options})
        _joined_with = trace.get_tracer_provider()
        start(plan, sinks=(_spend_sink(folder.path),), on_seen=folder.note_seen, **providers)


@cache
def _spend_sink(folder: Path) -> SpendSink:
    return SpendSink(folder)
