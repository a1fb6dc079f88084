"""A queue before the sinks, and a thread of ours that hands on what is in it: a slow sink does not hold up the app."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final
from weakref import ref

from opentelemetry.context import Context, attach, detach, get_current

from otel_harn_steps._telemetry.line_file import begin_anew_after_fork

_logger = logging.getLogger("otel_harn_steps")

AT_EXIT_S: Final = 5.0
"""How long the sinks may take for what is left, when the program ends or they are replaced."""

_Hand = Callable[[Any], None]
_Event = tuple[_Hand, Any, Context]


class _Losses:
    """What sinks have not received, in this process."""

    def __init__(self) -> None:
        self.clear()
        begin_anew_after_fork(self)

    def clear(self) -> None:
        """Begin at 0, with a new lock: another thread may have held the old one at a fork."""
        # Reentrant: the garbage collector may end a step, whose record finds the queue full, in here.
        self._lock = threading.RLock()
        self.count = 0
        self._is_told = False

    after_fork = clear

    def add(self, number: int, why: str) -> None:
        """Count so many, and warn of the first."""
        with self._lock:
            self.count += number
            is_first, self._is_told = not self._is_told, True
        if is_first:
            _logger.warning(
                "%s: %d records, rows of calls or starts of steps did not reach them, and further ones may not; "
                "dropped_sink_events() counts them",
                why,
                number,
            )


_losses = _Losses()


def dropped_sink_events() -> int:
    """How many records, rows of calls and starts of steps the sinks of this process have not received, because the
    queue before them (`instrument(sink_queue=...)`) was full, or because they were too slow at the end.
    """
    return _losses.count


def forget_dropped_sink_events() -> None:
    """Begin at 0 (tests)."""
    _losses.clear()


class SinkQueue:
    """Hands events on in their order, in a thread of its own. What finds it full is lost, and counted.

    An event sees the OpenTelemetry Context that it was put in. A forked child begins with an empty queue: what was
    waiting is the parent's. Where no thread can be started, as at the end of a program, events are handed on at once.

    Args:
        capacity: how many events may wait. Threads that put at the same moment may exceed it by one each.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.after_fork()
        begin_anew_after_fork(self)
        # By a weak reference, so that a queue that nobody closes goes with its processor.
        self._at_exit = _closing(ref(self))
        atexit.register(self._at_exit)

    def after_fork(self) -> None:
        """Begin anew: the thread is not in the child."""
        self._waiting = SimpleQueue[_Event | threading.Event | None]()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # as that of the losses
        self._is_closed = False
        self._has_failed = False
        self._finalizer: Any = None

    def put(self, hand: _Hand, what: Any) -> None:
        """Let `hand` be called with `what`. Never waits for a sink."""
        if self._thread is None and not self._start():
            if self._has_failed:
                _losses.add(1, "sinks are too slow")
            else:
                hand(what)
        elif self._waiting.qsize() >= self._capacity:
            _losses.add(1, f"sinks are too slow: the queue before them is full (sink_queue={self._capacity})")
        else:
            self._waiting.put((hand, what, get_current()))

    def flush(self, timeout_s: float) -> bool:
        """Wait until what is in the queue has been handed on. False: it took longer than `timeout_s`."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        is_done = threading.Event()
        self._waiting.put(is_done)
        return is_done.wait(timeout_s)

    def close(self, timeout_s: float = AT_EXIT_S) -> None:
        """Flush, and stop the thread. Later events are handed on at once.

        Sinks that are not done in time have failed: what is left, and all later events, are lost.
        """
        atexit.unregister(self._at_exit)
        self._end(timeout_s)

    def _end(self, timeout_s: float) -> None:
        self._has_failed = not self.flush(timeout_s)
        self._is_closed = True
        if self._has_failed:
            self._lose_rest(timeout_s)
        self._waiting.put(None)
        self._thread = None
        if self._finalizer is not None:
            self._finalizer.cancel()
            self._finalizer = None

    def _lose_rest(self, waited_s: float) -> None:
        lost = 0
        with suppress(Empty):
            while True:
                lost += isinstance(self._waiting.get_nowait(), tuple)
        if lost:
            _losses.add(lost, f"sinks are too slow: they were not done within {waited_s:g} s of the end")

    def _start(self) -> bool:
        with self._lock:
            if self._is_closed:
                return False
            if self._thread is None:
                thread = threading.Thread(
                    target=_hand_on, args=(self._waiting,), name="otel_harn_steps sinks", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # too many threads, or the interpreter is shutting down
                    return False
                self._thread = thread
                self._finalizer = _finalizer(self._at_exit)
            return True


def _closing(queue: ref[SinkQueue]) -> Callable[[], None]:
    def close() -> None:
        found = queue()
        if found is not None:
            found._end(AT_EXIT_S)

    return close


def _finalizer(close: Callable[[], None]) -> Any:
    """What lets the processes of `multiprocessing` call `close`: they end without the functions of `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    return None if util is None else util.Finalize(None, close, exitpriority=0)


def _hand_on(waiting: SimpleQueue[_Event | threading.Event | None]) -> None:
    while (event := waiting.get()) is not None:
        if isinstance(event, threading.Event):
            event.set()
        else:
            hand, what, context = event
            token = attach(context)
            # Sinks are guarded; what else they raise, such as SystemExit, would end this thread and not the program.
            with suppress(BaseException):
                hand(what)
            detach(token)
            del event, hand, what, context
