"""The terminal that a command prints to: how wide it is, and whether it wants colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final, Literal, TextIO

from otel_harn_steps.cli._text_table import Line

DEFAULT_WIDTH: Final = 80

Color = Literal["auto", "always", "never"]


def terminal_width(stream: TextIO | None = None) -> int:
    """How many columns the terminal has: as `COLUMNS` says, else as it says itself. 80 where it is none."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size((sys.stdout if stream is None else stream).fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):
        return DEFAULT_WIDTH


def wants_color(color: Color, stream: TextIO) -> bool:
    """Whether to colour: "auto" does in a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`."""
    if color == "auto":
        return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return color == "always"


def print_lines(lines: Iterable[Line], color: Color = "auto", stream: TextIO | None = None) -> None:
    """Print to stdout, or to `stream`: in colour where that is wanted and Rich is installed."""
    stream = sys.stdout if stream is None else stream
    if wants_color(color, stream):
        try:
            from rich.console import Console  # noqa: PLC0415 -- an extra, and a tenth of a second
            from rich.text import Text  # noqa: PLC0415 -- as above
        except ImportError:
            pass
        else:
            console = Console(
                file=stream, force_terminal=True, highlight=False, markup=False, soft_wrap=True, emoji=False
            )
            for line in lines:
                console.print(Text.assemble(*line.parts))
            return
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal of few characters shows what it can
    for line in lines:
        print(line.text, file=stream)
