"""The end of worker processes, which run no functions of `atexit`: what they have not exported would be lost.

Workers are the children of `multiprocessing`, also those of pools and of `concurrent.futures`, and Celery's. A pool
that is left as a context manager ends its workers by SIGTERM.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._patching.imports import when_imported
from otel_harn_steps._telemetry.exporting import flush, flush_on_sigterm, providers

_SPAWNED: Final = "--multiprocessing-fork"
"""What `multiprocessing` says on the command line of a worker that it starts, instead of forking it."""
_UTIL: Final = "multiprocessing.util"
_WATCHING: Final = guard("watching for worker processes", ours=False)
_is_on = False


def export_from_workers(*, is_on: bool) -> None:
    """Whether workers export what they have before they end, from now on."""
    global _is_on  # noqa: PLW0603 -- the one place that sets it
    _is_on = is_on
    if is_on:
        _watch()
        if _UTIL in sys.modules and _is_worker():
            _begin(sys.modules[_UTIL])


@cache
def _watch() -> None:
    when_imported(_UTIL, _watch_multiprocessing)
    when_imported("celery.signals", _watch_celery)


def _watch_multiprocessing(util: Any) -> None:
    with _WATCHING:
        util.register_after_fork(_begin, lambda begin: begin(util))
        if _is_worker():
            _begin(util)


def _is_worker() -> bool:
    if _SPAWNED in sys.orig_argv:
        return True
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _begin(util: Any) -> None:
    """A worker begins, or `instrument()` is called in one."""
    if _is_on and providers():
        with _WATCHING:
            util.Finalize(None, _end, exitpriority=0)
            flush_on_sigterm()


def _watch_celery(signals: Any) -> None:
    """Celery's workers end without finalizers, and have their signals reset after the fork."""
    with _WATCHING:
        signals.worker_process_init.connect(_begin_in_celery, weak=False)
        signals.worker_process_shutdown.connect(_end, weak=False)


def _begin_in_celery(**_: Any) -> None:
    if _is_on and providers():
        with _WATCHING:
            flush_on_sigterm()


def _end(**_: Any) -> None:
    if _is_on:
        flush()
