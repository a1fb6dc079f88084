"""`otel-harn-steps show`: one run with all that it did."""

from __future__ import annotations

import argparse
import json
import time

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import open_store

_NOTHING_FOUND = 1


def show(arguments: argparse.Namespace) -> int:
    """Print the run. Returns 1 where there is none."""
    with open_store(arguments) as store:
        try:
            detail = store.run(arguments.run)
        except LookupError as error:
            complain(str(error.args[0]) if error.args else str(error))
            return _NOTHING_FOUND
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- only what the command needs

        print(json.dumps(to_json(detail), indent=2))
        return 0
    from otel_harn_steps.cli._calls_text import call_lines  # noqa: PLC0415 -- as above
    from otel_harn_steps.cli._show_text import run_detail_lines  # noqa: PLC0415 -- as above
    from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above

    width = terminal_width()
    lines = run_detail_lines(detail, now_ns=time.time_ns(), width=width, has_all=arguments.all)
    if arguments.calls:
        lines += call_lines(detail.calls, detail.run.started_at, width=width, has_all=arguments.all)
    print_lines(lines, arguments.color)
    return 0
