"""A live view in a terminal: Rich's screen, which leaves the terminal as it was, and a reader of keys."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from typing import Final

from rich.console import Console
from rich.control import Control
from rich.text import Text

from otel_harn_steps.cli._keys import ESCAPE, Ended, Keys
from otel_harn_steps.cli._terminal import Color, wants_color
from otel_harn_steps.cli._text_table import Line
from otel_harn_steps.cli._top_text import Snapshot, View, Watch, snapshot_lines

_SORTS: Final = {"c": "cost", "m": "minute", "n": "new"}
_BACKSPACES: Final = ("\x7f", "\b")
_SEQUENCE: Final = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|O.)")
"""An arrow, or another key that a terminal sends as several characters of which Escape is the first."""
_FOOT: Final = "q quit · c cost · m a minute · n newest · / filter"
_SIGNALLED: Final = 128
_REST: Final = 4
"""Looking takes no more than one part in so many of the time, however large the store is."""


class Live:
    """Looks every so many seconds, and shows it until `q` or Ctrl-C."""

    def __init__(self, watch: Watch, view: View, interval_s: float, color: Color) -> None:
        self._watch = watch
        self._view = view
        self._interval_s = interval_s
        colored = wants_color(color, sys.stdout)
        self._console = Console(highlight=False, markup=False, emoji=False, no_color=not colored)

    def run(self) -> int:
        """Show it. Returns the exit code.

        Raises:
            OSError, ValueError: the store cannot be read.
        """
        try:
            with Keys() as keys:
                while self._show(keys):
                    keys.stop()
        except KeyboardInterrupt:
            return 0
        except Ended as ended:
            return _SIGNALLED + ended.number
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # The terminal has hung up. What is still to be written to it would fail as well.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())
            return _SIGNALLED + signal.SIGHUP
        return 0

    def _show(self, keys: Keys) -> bool:
        """Show it until it shall end. Returns whether it is only to be stopped for a while."""
        with self._console.screen() as screen:
            snapshot, next_s = self._look()
            while True:
                self._console.control(Control.home())
                screen.update(self._frame(snapshot))
                pressed = keys.wait(next_s - time.monotonic())
                if keys.is_stopping:
                    return True
                if self._press(pressed):
                    return False
                if time.monotonic() >= next_s:
                    snapshot, next_s = self._look()

    def _look(self) -> tuple[Snapshot, float]:
        """What runs now, and when to look again."""
        began_s = time.monotonic()
        snapshot = self._watch.look(time.time_ns())
        took_s = time.monotonic() - began_s
        return snapshot, began_s + max(self._interval_s, took_s * _REST)

    def _frame(self, snapshot: Snapshot) -> Text:
        width, height = self._console.size
        lines = snapshot_lines(snapshot, self._view, width, height - 1)
        lines += [Line.of("")] * (height - 1 - len(lines))
        lines.append(Line.of(_FOOT[:width], "dim"))
        return Text("\n", no_wrap=True, overflow="crop", end="").join(Text.assemble(*line.parts) for line in lines)

    def _press(self, pressed: str) -> bool:
        """Do what keys say. Returns whether they say to quit."""
        for key in _SEQUENCE.sub("", pressed):
            if key == ESCAPE:
                self._view = self._view._replace(wanted="", is_typing=False)
            elif self._view.is_typing:
                self._type(key)
            elif key == "q":
                return True
            elif key in _SORTS:
                self._view = self._view._replace(sort=_SORTS[key])
            elif key == "/":
                self._view = self._view._replace(is_typing=True)
        return False

    def _type(self, key: str) -> None:
        wanted = self._view.wanted
        if key in ("\n", "\r"):
            self._view = self._view._replace(is_typing=False)
        elif key in _BACKSPACES:
            self._view = self._view._replace(wanted=wanted[:-1])
        elif key.isprintable():
            self._view = self._view._replace(wanted=wanted + key)
