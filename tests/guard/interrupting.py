"""Interrupting our code at any of its lines, as a signal would."""

from __future__ import annotations

import linecache
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import otel_harn_steps

_OURS = str(Path(otel_harn_steps.__file__).parent)
_NOT_AT_WORK = (f"{_OURS}/testing/",)


class TimeLimitError(Exception):
    """What an app's time limit raises, as Celery's `SoftTimeLimitExceeded`: an `Exception`."""


def _time_is_up(number: int, frame: Any) -> None:
    raise TimeLimitError("time is up")


def by_signal() -> None:
    """Let a signal come: its handler raises."""
    signal.raise_signal(signal.SIGUSR1)


@contextmanager
def time_limit() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, _time_is_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


class Lines:
    """The lines of our code, or of one room of it, that run, in their order. At one of them, `interrupt` is called."""

    def __init__(self, at: int = -1, interrupt: Callable[[], None] = by_signal, *, room: str = "") -> None:
        self._place = f"{_OURS}/{room}"
        self.seen: list[tuple[str, int]] = []
        self._at = at
        self._interrupt = interrupt

    @property
    def at(self) -> tuple[str, int] | None:
        """Where it was interrupted."""
        return self.seen[self._at] if 0 <= self._at < len(self.seen) else None

    def run(self, work: Callable[[], Any]) -> Any:
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            return work()
        finally:
            sys.settrace(before)

    def _on_call(self, frame: Any, _: str, __: Any) -> Any:
        file = frame.f_code.co_filename
        ours = file.startswith(self._place) and not file.startswith(_NOT_AT_WORK)
        return partial(self._on_line, set()) if ours else None

    def _on_line(self, been_at: set[int], *given: Any) -> Any:
        frame, event, _ = given
        # A trace function is known by what it is given; here a signal's handler is to be known.
        given = ()
        if event == "line":
            file, line = frame.f_code.co_filename, frame.f_lineno
            del frame
            # Python looks for signals neither between the end of a "with" block and its exit, where a lock is let go,
            # nor at a "try".
            text = linecache.getline(file, line).strip()
            is_looked_at = not (line in been_at and text.startswith("with ")) and text != "try:"
            been_at.add(line)
            if is_looked_at:
                self.seen.append((file.removeprefix(_OURS), line))
                if len(self.seen) - 1 == self._at:
                    self._interrupt()
        return partial(self._on_line, been_at)
