"""What the commands that show what was spent take: `report`, `show`, `top`, and `completion`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._reading_options import add_filter, add_records

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_REPORT: Final = """
Show what was spent: a headline, a table, and one line of advice if there is one. Estimates have a tilde, what is
unknown is a question mark. A narrow terminal shows fewer columns.
"""
_SHOW: Final = """
Show one run as a tree of its steps: what each has spent by itself and with the steps below it, how far budgets are
spent, what was in flight, and what a killed process left. Exits with 1 if there is no such run.
"""
_TOP: Final = """
Show the steps that run now, or have just ended, in all processes that write into the store, until `q` is pressed.
Keys: c cost, m spend a minute, n newest; / filters by name, Esc shows all again.
"""
_COMPLETION: Final = """
Print the script that lets a shell complete this command. For bash: eval "$(otel-harn-steps completion bash)"
"""
_DIMENSIONS: Final = "step, path, agent, model, provider, run, program, day, status, label:NAME"
SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
SORTS: Final = ("cost", "minute", "new")


def add_views(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    report = commands.add_parser("report", help="show what was spent, by step or otherwise", description=_REPORT)
    report.add_argument("--by", default="step", metavar="WHAT", help=f"{_DIMENSIONS}; default: step")
    report.add_argument("--all", action="store_true", help="show all rows, and not only the first 15")
    written = report.add_mutually_exclusive_group()
    written.add_argument("--json", action="store_true", help="print the report as JSON")
    written.add_argument("--csv", action="store_true", help="print the rows as CSV")
    written.add_argument("--html", metavar="FILE", help="write the report as one page that needs no network")
    add_filter(report)

    show = commands.add_parser("show", help="show one run as a tree of its steps", description=_SHOW)
    show.add_argument("run", metavar="RUN", help="its id or the beginning of it, the id of a trace, or: last")
    show.add_argument("--calls", action="store_true", help="show its calls as well")
    show.add_argument("--all", action="store_true", help="a line for every run of a step, and all calls")
    show.add_argument("--json", action="store_true", help="print all that is known of the run as JSON")
    add_records(show)

    top = commands.add_parser("top", help="watch the steps that run now", description=_TOP)
    top.add_argument("--once", action="store_true", help="print what runs now, and exit")
    top.add_argument("--sort", choices=SORTS, default="cost", help="what comes first; default: cost")
    top.add_argument("--interval", metavar="SECONDS", default="1", help="how often to look; default: 1")
    add_filter(top)

    completion = commands.add_parser(
        "completion", help="print what a shell needs to complete this command", description=_COMPLETION
    )
    completion.add_argument("shell", choices=SHELLS, help="for which shell")
