"""Threads that carry the step: the context goes along to a thread that is started and to a task that is submitted.

Next to OpenTelemetry's own threading instrumentation this changes nothing: both carry the same Context. Our wrappers
lie below those of others, so that steps still arrive after that instrumentation has left.

A worker of a pool is started inside the first `submit`. It must not keep the context of that task.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent import futures
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import Context, attach, detach, get_current

from otel_harn_steps._patching.patcher import Patcher

_EMPTY: Final = Context()
# Tasks of this pool are pickled and run in another interpreter: no object of this one can go along.
_OTHER_INTERPRETERS: Final = "concurrent.futures.interpreter"


def patch_threads(patcher: Patcher) -> None:
    """Run threads, tasks of thread pools, and callbacks of futures in the context that they come from."""
    patcher.wrap_innermost(threading.Thread, "start", _start, "threading")
    patcher.wrap_innermost(futures.Future, "add_done_callback", _add_done_callback, "concurrent")
    patcher.when_imported("concurrent.futures.thread", functools.partial(_patch_pools, patcher))


def _patch_pools(patcher: Patcher, module: ModuleType) -> None:
    patcher.wrap_innermost(module.ThreadPoolExecutor, "submit", _submit, "concurrent")


class _Carried:
    """A function that runs in the context that it was handed over in.

    It lets go of the context when it begins: a finished thread or future may live long, and the step must not live with
    it. So does a traceback, which is why no local variable keeps the context either.
    """

    __slots__ = ("_context", "_function")

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self._function = function
        self._context = context

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token = attach(self._context)
        self._context = _EMPTY
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(token)


class _Run(_Carried):
    """In the place of `Thread.run`, on a thread that has been started and does not run yet.

    Not a wrapper of `Thread.run` itself: most subclasses have a `run` of their own, which calls no other.
    """

    __slots__ = ("_thread",)

    def __init__(self, thread: threading.Thread, context: Context) -> None:
        super().__init__(thread.run, context)
        self._thread: threading.Thread | None = thread

    def remove(self) -> None:
        """Give the thread its own `run` back."""
        thread, self._thread = self._thread, None
        if thread is None or vars(thread).get("run") is not self:
            return
        run = self._function
        if getattr(run, "__self__", None) is thread:  # of its class
            del vars(thread)["run"]
        else:
            vars(thread)["run"] = run

    def __call__(self, /, *_: Any) -> None:
        # Sentry's replacement of `run` calls what it found with the thread, as if it were a function of the class.
        self.remove()
        self._context = get_current() or self._context  # from Python 3.14 on a thread may be given one of its own
        super().__call__()


def _start(wrapped: Callable[..., Any], thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = get_current()
    if not context:
        return wrapped(*args, **kwargs)
    run = _Run(thread, context)
    vars(thread)["run"] = run
    try:
        return wrapped(*args, **kwargs)
    except BaseException:  # it was started before, or there can be no more threads
        run.remove()
        raise


def _submit(wrapped: Callable[..., Any], pool: futures.Executor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = get_current()
    if not context or not args or any(each.__module__ == _OTHER_INTERPRETERS for each in type(pool).__mro__):
        return wrapped(*args, **kwargs)
    function, *rest = args
    token = attach(_EMPTY)  # for the worker that may be started
    try:
        return wrapped(_Carried(function, context), *rest, **kwargs)
    finally:
        detach(token)


def _add_done_callback(
    wrapped: Callable[..., Any], _: futures.Future[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    context = get_current()
    if not context or len(args) != 1:
        return wrapped(*args, **kwargs)
    return wrapped(_Carried(args[0], context), **kwargs)
