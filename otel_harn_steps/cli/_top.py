"""`otel-harn-steps top`: what runs now, in all processes that write into the store."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import open_store, read_filter

_USAGE_ERROR = 2


def top(arguments: argparse.Namespace) -> int:
    """Show what runs now, once or until `q` is pressed."""
    try:
        chosen = read_filter(arguments)
        interval_s = _interval(arguments.interval)
    except ValueError as error:
        complain(str(error))
        return _USAGE_ERROR
    from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- only where it is needed
    from otel_harn_steps.cli._top_text import View, Watch, snapshot_lines  # noqa: PLC0415 -- as above

    view = View(sort=arguments.sort)
    with open_store(arguments) as store:
        watch = Watch(store, chosen)
        has_screen = os.name == "posix" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if arguments.once or not has_screen:
            print_lines(snapshot_lines(watch.look(time.time_ns()), view, terminal_width()), arguments.color)
            return 0
        try:
            from otel_harn_steps.cli._live import Live  # noqa: PLC0415 -- as above
        except ImportError as error:
            complain(f"watching needs {error.name}: pip install 'otel-harn-steps[cli]'; --once does not")
            return _USAGE_ERROR
        try:
            return Live(watch, view, interval_s, arguments.color).run()
        except (OSError, ValueError) as error:  # the store cannot be read any more, or the terminal is gone
            complain(str(error))
            return _USAGE_ERROR


def _interval(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 3600:
        raise ValueError(f"--interval must be a number of seconds from 0.1 to 3600, not {given!r}")
    return seconds
