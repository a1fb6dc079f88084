"""Putting a plan in force in this process."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from otel_harn_steps._instrument.instrument import instrument, uninstrument
from otel_harn_steps._telemetry.delivery import Sink
from otel_harn_steps._telemetry.sinks import JsonLinesSink, LogEventSink
from otel_harn_steps.config._main_script import watch_main
from otel_harn_steps.config._plan import Plan
from otel_harn_steps.config._targets import Targets
from otel_harn_steps.frameworks._naming import forget_definitions, use_definitions

_logger = logging.getLogger("otel_harn_steps")


_STARTED_IN: Final = "OTEL_HARN_STEPS_STARTED_IN"
"""The first process of the app, so that those below it know that they are not."""


class _State:
    targets: Targets | None = None
    has_forked = False


def start(
    plan: Plan, *, sinks: Sequence[Sink] = (), on_seen: Callable[[int], object] | None = None, **providers: Any
) -> None:
    """Do what the plan says: patch the clients, and watch for the targets.

    Args:
        plan: what the file says.
        sinks: further receivers of records.
        on_seen: told the number of each step whose target has appeared. Given, nothing is reported at exit.
        providers: `tracer_provider`, `meter_provider`, `logger_provider`.
    """
    of_file: list[Sink] = []
    if plan.json_lines is not None:
        of_file.append(JsonLinesSink(plan.json_lines))
    if plan.log_events:
        of_file.append(LogEventSink())
    instrument(
        frameworks=plan.frameworks,
        clients=plan.clients,
        prices=plan.prices,
        models=plan.models,
        unpriced=plan.unpriced,
        call_spans=plan.call_spans,
        stream_usage=plan.stream_usage,
        metrics=plan.metrics,
        redact_errors=plan.redact_errors,
        sinks=(*of_file, *sinks),
        **providers,
    )
    if _State.targets is not None and _State.targets.steps == plan.steps:
        return  # started again, for a tracer provider that was not there before
    _forget_targets()
    targets = _State.targets = Targets(plan.steps) if on_seen is None else Targets(plan.steps, on_seen)
    targets.watch()
    watch_main(targets)
    named = {step.name: number for number, step in enumerate(plan.steps) if step.name and not step.target}
    definitions = {name: plan.steps[number].definition(name) for name, number in named.items()}
    use_definitions(definitions, on_run=lambda name: targets.note(named[name]))
    if on_seen is None and plan.steps:
        os.environ.setdefault(_STARTED_IN, str(os.getpid()))
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_parent=_note_fork)
        atexit.register(_report_unseen, targets)


def stop() -> None:
    """Put everything back as it was before `start`."""
    _forget_targets()
    uninstrument()


def _forget_targets() -> None:
    if _State.targets is not None:
        _State.targets.unwrap()
        forget_definitions()
        _State.targets = None


def _note_fork() -> None:
    _State.has_forked = True


def _report_unseen(targets: Targets) -> None:
    # A worker has its own share of the app, and what it has not imported says nothing.
    if targets is not _State.targets or os.environ.get(_STARTED_IN) != str(os.getpid()):
        return
    # Nor does it in a server whose workers are the app: there `otel-harn-steps run` knows, which sees all of them.
    level = logging.INFO if _State.has_forked else logging.WARNING
    for step in targets.unseen():
        _logger.log(level, "%s", step.never_appeared())
