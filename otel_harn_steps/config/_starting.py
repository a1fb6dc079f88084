"""Putting a plan in force in this process."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._instrument.common_budgets import use_common_budgets
from otel_harn_steps._instrument.instrument import instrument, uninstrument
from otel_harn_steps._instrument.receiver import SinkReceiver
from otel_harn_steps._patching.patcher import Patcher
from otel_harn_steps.config._plan import Plan

if TYPE_CHECKING:
    from otel_harn_steps._telemetry.delivery import Sink
    from otel_harn_steps.config._declared import DeclaredSteps

_logger = logging.getLogger("otel_harn_steps")


_STARTED_IN: Final = "OTEL_HARN_STEPS_STARTED_IN"
"""The first process of the app, so that those below it know that they are not."""


class Started:
    """What a plan has put in force next to `instrument()`: targets, frameworks, budgets of agents, sinks.

    They are not arguments of `instrument()`: where the app calls that by itself, they stay.
    """

    def __init__(self, plan: Plan, on_seen: Callable[[int], object] | None) -> None:
        self.plan = plan
        self._steps: DeclaredSteps | None = None
        self._receivers: tuple[SinkReceiver, ...] = ()
        self._patcher = Patcher()
        self._is_reported = on_seen is None and bool(plan.steps)
        self._has_forked = False
        if plan.steps:
            from otel_harn_steps.config._declared import DeclaredSteps  # noqa: PLC0415 -- only where there are some

            self._steps = DeclaredSteps(plan.steps, on_seen)
        if plan.frameworks:
            from otel_harn_steps.frameworks._patching import patch_frameworks  # noqa: PLC0415 -- only where wanted

            patch_frameworks(self._patcher, plan.frameworks)
        use_common_budgets("file", plan.agents, plan.budgets)
        if self._is_reported:
            os.environ.setdefault(_STARTED_IN, str(os.getpid()))
            if hasattr(os, "register_at_fork"):  # not on Windows
                os.register_at_fork(after_in_parent=self._note_fork)
            atexit.register(self.report_unseen)

    def use_sinks(self, sinks: Sequence[Sink]) -> None:
        """Hand records to these sinks and those of the file, and no more to those from before."""
        of_file: list[Sink] = []
        if self.plan.json_lines is not None or self.plan.log_events:
            from otel_harn_steps._telemetry.sinks import JsonLinesSink, LogEventSink  # noqa: PLC0415 -- as above

            if self.plan.json_lines is not None:
                of_file.append(JsonLinesSink(self.plan.json_lines))
            if self.plan.log_events:
                of_file.append(LogEventSink())
        # The queue is for the sinks of the file. A journal has written before the app goes on.
        queued = SinkReceiver(*of_file, sink_queue=self.plan.options.get("sink_queue"))
        before, self._receivers = self._receivers, (queued, SinkReceiver(*sinks))
        for each in before:
            each.shutdown()

    def close(self) -> None:
        """Put every target and framework back, and close the sinks."""
        if self._steps is not None:
            self._steps.close()
        self._patcher.close()
        use_common_budgets("file")
        for each in self._receivers:
            each.shutdown()
        if self._is_reported:
            atexit.unregister(self.report_unseen)

    def _note_fork(self) -> None:
        self._has_forked = True

    def report_unseen(self) -> None:
        """Name the targets that have never appeared, if this is the first process of the app."""
        # A worker has its own share of the app, and what it has not imported says nothing.
        if os.environ.get(_STARTED_IN) != str(os.getpid()):
            return
        # Nor does it in a server whose workers are the app: there `otel-harn-steps run` knows, which sees all of them.
        level = logging.INFO if self._has_forked else logging.WARNING
        for step in () if self._steps is None else self._steps.unseen():
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
    if _started is None or _started.plan != plan:  # else started again, for a tracer provider that is new
        _replace(None)
        _replace(Started(plan, on_seen))
    if _started is not None:
        _started.use_sinks(sinks)


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
