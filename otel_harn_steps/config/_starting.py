"""Putting a plan in force in this process."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from otel_harn_steps._instrument.instrument import instrument, uninstrument
from otel_harn_steps._instrument.processor import StepSpanProcessor
from otel_harn_steps._telemetry.delivery import Sink
from otel_harn_steps._telemetry.sinks import JsonLinesSink, LogEventSink
from otel_harn_steps.config._main_script import watch_main
from otel_harn_steps.config._plan import Plan
from otel_harn_steps.config._targets import Targets
from otel_harn_steps.frameworks._naming import use_definitions

_logger = logging.getLogger("otel_harn_steps")


_STARTED_IN: Final = "OTEL_HARN_STEPS_STARTED_IN"
"""The first process of the app, so that those below it know that they are not."""


class Started:
    """What a plan has put in force, next to `instrument()`: its targets, its sinks, what it declares for frameworks.

    The sinks are not arguments of `instrument()`: an app that calls it by itself keeps those of its file and of
    `otel-harn-steps run`.
    """

    def __init__(self, plan: Plan, sinks: Sequence[Sink], on_seen: Callable[[int], object] | None) -> None:
        self._is_reported = on_seen is None and bool(plan.steps)
        self._has_forked = False
        self.targets = Targets(plan.steps) if on_seen is None else Targets(plan.steps, on_seen)
        self._receiver = StepSpanProcessor(*_sinks_of(plan), *sinks)
        self.targets.watch()
        watch_main(self.targets)
        numbers = {step.name: number for number, step in enumerate(plan.steps) if step.name and not step.target}
        definitions = {name: plan.steps[number].definition(name) for name, number in numbers.items()}
        use_definitions(definitions, on_run=lambda name: self.targets.note(numbers[name]))
        if self._is_reported:
            os.environ.setdefault(_STARTED_IN, str(os.getpid()))
            if hasattr(os, "register_at_fork"):  # not on Windows
                os.register_at_fork(after_in_parent=self._note_fork)
            atexit.register(self._report_unseen)

    def use_sinks(self, plan: Plan, sinks: Sequence[Sink]) -> None:
        """Hand records to these sinks from now on, and to no others."""
        self._receiver.shutdown()
        self._receiver = StepSpanProcessor(*_sinks_of(plan), *sinks)

    def close(self) -> None:
        """Put every target back, close the sinks, declare nothing any more."""
        self.targets.unwrap()
        self._receiver.shutdown()
        use_definitions({})
        if self._is_reported:
            atexit.unregister(self._report_unseen)

    def _note_fork(self) -> None:
        self._has_forked = True

    def _report_unseen(self) -> None:
        # A worker has its own share of the app, and what it has not imported says nothing.
        if os.environ.get(_STARTED_IN) != str(os.getpid()):
            return
        # Nor does it in a server whose workers are the app: there `otel-harn-steps run` knows, which sees all of them.
        level = logging.INFO if self._has_forked else logging.WARNING
        for step in self.targets.unseen():
            _logger.log(level, "%s", step.never_appeared())


_started: Started | None = None


def start(
    plan: Plan, *, sinks: Sequence[Sink] = (), on_seen: Callable[[int], object] | None = None, **providers: Any
) -> None:
    """Do what the plan says: patch the clients, and watch for the targets. Replaces an earlier start whole.

    Args:
        plan: what the file says.
        sinks: further receivers of records.
        on_seen: called with the number of each step whose target has appeared. If it is given, nothing is reported at
            exit.
        providers: `tracer_provider`, `meter_provider`, `logger_provider`.
    """
    instrument(**plan.options, **providers)
    if _started is not None and _started.targets.steps == plan.steps:
        _started.use_sinks(plan, sinks)  # started again, for a tracer provider that was not there before
    else:
        _replace(None)
        _replace(Started(plan, sinks, on_seen))


def stop() -> None:
    """Put everything back as it was before `start`."""
    _replace(None)
    uninstrument()


def started() -> Started | None:
    """What the last `start` has put in force."""
    return _started


def _replace(new: Started | None) -> None:
    global _started  # noqa: PLW0603 -- the one place that holds it
    if _started is not None:
        _started.close()
    _started = new


def _sinks_of(plan: Plan) -> Iterator[Sink]:
    if plan.json_lines is not None:
        yield JsonLinesSink(plan.json_lines)
    if plan.log_events:
        yield LogEventSink()
