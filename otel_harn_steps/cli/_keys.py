"""The keyboard and the signals of a live view, without a thread."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

ESCAPE: Final = "\x1b"
_RESIZED, _STOPPED = "SIGWINCH", "SIGTSTP"
_ENDING: Final = ("SIGTERM", "SIGHUP")


class Ended(BaseException):
    """A signal wants the process to end. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Keys:
    """While it is open, keys arrive as they are pressed, without being shown; afterwards the terminal is as it was.

    A resized terminal ends a wait at once. SIGTERM and SIGHUP raise `Ended` out of whatever runs, so that the terminal
    can be put in order first. Where stdin is no terminal, no keys arrive.
    """

    def __init__(self) -> None:
        self._keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._terminal: list[Any] | None = None
        self._before: dict[int, Any] = {}
        self._wake = os.pipe()
        self._wakeup_before = -1
        self.is_stopping = False
        self._ended_by: int | None = None

    def __enter__(self) -> Self:
        for end in self._wake:
            os.set_blocking(end, False)
        for name, handler in self._handlers().items():
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, handler)
        self._wakeup_before = signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        self._quieten()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._restore()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for end in self._wake:
            os.close(end)

    def wait(self, seconds: float) -> str:
        """The keys that were pressed, at once or within so many seconds. Empty: none was."""
        if self._ended_by is not None:  # it was raised where nothing is raised from, as out of a finaliser
            raise Ended(self._ended_by)
        until = time.monotonic() + seconds
        watched = [self._wake[0], *([] if self._keyboard is None else [self._keyboard])]
        ready, _, _ = select.select(watched, [], [], max(until - time.monotonic(), 0))
        if self._wake[0] in ready:
            os.read(self._wake[0], 4096)
        if self._keyboard in ready and self._keyboard is not None:
            pressed = os.read(self._keyboard, 4096)
            if not pressed:  # the terminal has hung up
                raise Ended(signal.SIGHUP)
            return pressed.decode(errors="replace")
        return ""

    def stop(self) -> None:
        """Stop as Ctrl-Z wants it, until the shell lets the process go on. The screen has been left before."""
        self.is_stopping = False
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._quieten()

    def _handlers(self) -> dict[str, Callable[[int, FrameType | None], None]]:
        def end(number: int, _: FrameType | None) -> None:
            self._ended_by = number
            raise Ended(number)

        def wake(_: int, __: FrameType | None) -> None:
            """The wake-up pipe has it."""

        def want_stop(_: int, __: FrameType | None) -> None:
            self.is_stopping = True

        return dict.fromkeys(_ENDING, end) | {_RESIZED: wake, _STOPPED: want_stop}

    def _quieten(self) -> None:
        if self._keyboard is None:
            return
        try:
            import termios  # noqa: PLC0415 -- not on Windows
            import tty  # noqa: PLC0415 -- as above
        except ImportError:
            self._keyboard = None
            return
        self._terminal = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)

    def _restore(self) -> None:
        if self._terminal is None or self._keyboard is None:
            return
        import termios  # noqa: PLC0415 -- not on Windows

        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._keyboard, termios.TCSANOW, self._terminal)
        self._terminal = None
