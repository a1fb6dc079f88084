"""`otel-harn-steps report`: what was spent, by something."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import open_store, read_filter

if TYPE_CHECKING:
    from otel_harn_steps.store import Filter, Store

_USAGE_ERROR: Final = 2
_UNITS: Final = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
_PATTERNS: Final = ("step", "agent", "model", "provider", "program", "label")


def report(arguments: argparse.Namespace) -> int:
    """Print the report, or write it."""
    try:
        chosen = read_filter(arguments)
        with open_store(arguments) as store:
            if arguments.html is not None:
                return _write_html(store, chosen, arguments)
            _print(store, chosen, arguments)
    except ValueError as error:  # what was asked for is nothing that there is
        complain(str(error))
        return _USAGE_ERROR
    return 0


def _print(store: Store, chosen: Filter, arguments: argparse.Namespace) -> None:
    found = store.report(arguments.by, chosen)
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- as above

        print(json.dumps(to_json(found), indent=2))
    elif arguments.csv:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- as above

        csv_of = importlib.import_module("otel_harn_steps.page._csv").csv_of
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # it is a file
        print(csv_of(to_json(found)["rows"]), end="")
    else:
        from otel_harn_steps.cli._report_text import report_lines  # noqa: PLC0415 -- as above
        from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above

        lines = report_lines(found, period=period_text(arguments), width=terminal_width(), has_all=arguments.all)
        print_lines(lines, arguments.color)


def _write_html(store: Store, chosen: Filter, arguments: argparse.Namespace) -> int:
    report_html, path = importlib.import_module("otel_harn_steps.page").report_html, arguments.html
    html: str = report_html(store, chosen, described=period_text(arguments))
    try:
        Path(path).write_text(html, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        complain(f"--html {path}: {error.strerror}")
        return _USAGE_ERROR
    complain(f"{path} holds the report: open it in a browser")
    return 0


def period_text(arguments: argparse.Namespace) -> str:
    """What a filter lets through, as it was asked for: `last 7 days, step plan*`."""
    from otel_harn_steps.cli._text_table import label  # noqa: PLC0415 -- as above

    when = " ".join(_when(arguments)) or "all that is recorded"
    chosen = [f"{name} {label(each)}" for name in _PATTERNS for each in getattr(arguments, name)]
    return ", ".join((when, *chosen))


def _when(arguments: argparse.Namespace) -> Iterator[str]:
    since: str | None = arguments.since
    period = re.fullmatch(r"0*(\d+)([mhdw])", since or "")
    if period is not None and arguments.until is None:
        count, unit = period[1], _UNITS[period[2]]
        yield f"last {unit}" if count == "1" else f"last {count} {unit}s"
    elif since == arguments.until is None:
        return
    elif since in ("today", "yesterday") and arguments.until is None:
        yield "today" if since == "today" else "since yesterday"
    else:
        yield from (f"{name} {given}" for name, given in (("since", since), ("until", arguments.until)) if given)
