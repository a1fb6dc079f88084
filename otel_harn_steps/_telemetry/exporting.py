"""Exporting what is left before a process is gone, within a bound: a dead Collector must not keep a program alive."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from otel_harn_steps import _settings
from otel_harn_steps._guard import guard

EXPORT_S: Final = 1.0
"""How long the end of a process may take for exports that nobody takes."""


def tracer_provider() -> Any:
    """The global tracer provider. None: nobody has imported the API, which is where one is set."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None and "OTEL_PYTHON_TRACER_PROVIDER" in os.environ:
        from opentelemetry import trace  # noqa: PLC0415 -- loads the one that is named there
    return None if trace is None else trace.get_tracer_provider()


def providers() -> list[Any]:
    """The providers of an SDK that spans, metrics and log events of ours go to."""
    now = _settings.in_force
    metrics: Any = sys.modules.get("opentelemetry.metrics")
    logs: Any = sys.modules.get("opentelemetry._logs")
    found = (
        now.tracer_provider or tracer_provider(),
        now.meter_provider or (metrics and metrics.get_meter_provider()),
        now.logger_provider or (logs and logs.get_logger_provider()),
    )
    return [each for each in found if callable(getattr(each, "force_flush", None))]


def flush() -> None:
    """Export what waits, in `EXPORT_S` at most."""
    call_within(EXPORT_S, [each.force_flush for each in providers()])


def call_within(
    limit_s: float, functions: Iterable[Callable[[], object]], is_worth_waiting: Callable[[], float] | None = None
) -> bool:
    """Call each function in a thread of its own. Returns whether all were done in time; the others are left to go on.

    Where no thread can be started, a function is called here, and takes as long as it takes.

    Args:
        limit_s: how long to wait for them, in seconds.
        functions: an error of one is logged once and dropped.
        is_worth_waiting: asked where they are not done soon; says how long they may take altogether, in seconds.
    """
    begun_s = monotonic()
    threads = []
    for function in functions:
        thread = threading.Thread(target=_call, args=(function,), name="otel_harn_steps exports", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts none at the end of a program; or there are too many
            _call(function)
        else:
            threads.append(thread)
    if is_worth_waiting is not None and not _join(threads, begun_s + limit_s / 4):
        limit_s = is_worth_waiting()
    return _join(threads, begun_s + limit_s)


def _join(threads: list[threading.Thread], until_s: float) -> bool:
    for thread in threads:
        thread.join(max(0.0, until_s - monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _call(function: Callable[[], object]) -> None:
    with guard("exporting at the end of a process", ours=False):
        function()


def flush_on_sigterm() -> None:
    """Let SIGTERM export what waits before it ends this process, as it does without us.

    Where the app has a handler, or ignores the signal, that stays. One that it sets later replaces ours.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _flush_and_end)


def _flush_and_end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    # In other threads: this one may hold a lock of the SDK's.
    flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
