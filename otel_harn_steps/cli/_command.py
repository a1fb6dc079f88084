"""The command line: what may be said, and what it means.

argparse, because it is there: the command stands before the app's start, and another framework would cost more time
than everything else that is done here.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from otel_harn_steps._version import __version__
from otel_harn_steps.cli._limits import add_limits

_CLOSED_PIPE: Final = 141
"""As a shell shows a program that SIGPIPE has killed."""

_RUN = """
Run a program and show what its calls to models have cost: otel-harn-steps run -- python app.py
It needs no change and no file: gunicorn and uvicorn, `python -m`, and processes that it starts itself are taken along.
With a configuration file, it has steps and budgets.
With a limit, as in --max-usd 0.50, all its processes count together. The call that would cross it is refused with
StepBudgetExceeded. If the program goes on calling, or its minutes are over, it gets SIGINT and then SIGTERM.
Exits as the program does; or with 75, if a limit has ended it: also where the program handled that and exited with 0.
"""
_DOCTOR = """
Show what a run would find: mistakes in the configuration, targets that are not there, clients that are installed.
Nothing of the app is imported, unless --import says so. Also shows what the records hold of models without a price,
and of requests from clients that are not known here. Exits with 1 if something is wrong.
"""
_COLLECTOR_CONFIG = """
Print a configuration for the OpenTelemetry Collector, for Jaeger or for Prometheus; without NAME, list them.
--check starts it in a real Collector, with a stand-in for the backend on this machine, sends a step's span through it
and says what arrived. Through redaction and honeycomb, and a file that was one of them, it sends prompts and secrets in
every place too, and says which would leave. Exits with 1 if something is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        # Before an app's start, only what `run` needs is imported.
        parser = make_parser(only_run=True) if given[:1] == ["run"] else make_parser()
        code = _do(parser.parse_args(given))
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads our output has closed the pipe, as `head` does. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    return code


_COMMANDS: Final = {
    "run": ("_run", "run"),
    "doctor": ("_doctor", "doctor"),
    "collector-config": ("_collector_config", "collector_config"),
    "report": ("_report", "report"),
    "show": ("_show", "show"),
    "top": ("_top", "top"),
    "completion": ("_completion", "completion"),
    "diff": ("_diff", "diff"),
    "whatif": ("_whatif", "whatif"),
    "budget": ("_budget", "budget"),
    "watch": ("_watch", "watch"),
    "prices": ("_prices", "prices"),
    "import": ("_import", "import_into_records"),
    "export": ("_export", "export"),
    "serve": ("_serve", "serve"),
}
"""Each command's module and function: only what the command needs is imported."""


def _do(parsed: argparse.Namespace) -> int:
    module, function = _COMMANDS[parsed.command]
    command: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(f"otel_harn_steps.cli.{module}"), function
    )
    return command(parsed)


def make_parser(*, only_run: bool = False) -> argparse.ArgumentParser:
    """The parser of the whole command line: also for what is made of it, such as its page of the docs."""
    parser = argparse.ArgumentParser(prog="otel-harn-steps", description="What LLM agent apps cost, by step.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    if not only_run:
        _add_others(commands)
    for each in dict.fromkeys(commands.choices.values()):
        each.add_argument(
            "--color", choices=("auto", "always", "never"), default="auto", help="colour; default: auto, in a terminal"
        )
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run a program and show what it has cost", description=_RUN)
    _add_config(run)
    run.add_argument(
        "--records",
        metavar="DIR",
        help="keep the run in this folder; default: OTEL_HARN_STEPS_RECORDS, else the data folder of this platform",
    )
    run.add_argument("--no-store", action="store_true", help="keep nothing of the run")
    run.add_argument("--step-records", metavar="FILE", help="append the record of every step to FILE, as JSON lines")
    run.add_argument("--json", metavar="FILE", help="write what the run has cost to FILE, for scripts")
    run.add_argument("--otlp", metavar="URL", help="send spans and metrics to this OTLP endpoint, over HTTP")
    run.add_argument("--no-table", action="store_true", help="do not print what the run has cost")
    add_limits(run)
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM ...", help="what to run")


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    # These complain through this module.
    from otel_harn_steps.cli._analysis_options import add_analysis  # noqa: PLC0415 -- as said
    from otel_harn_steps.cli._export import add_export  # noqa: PLC0415 -- as said
    from otel_harn_steps.cli._import import add_import  # noqa: PLC0415 -- as said
    from otel_harn_steps.cli._reading_options import add_records  # noqa: PLC0415 -- as said
    from otel_harn_steps.cli._serve import add_serve  # noqa: PLC0415 -- as said
    from otel_harn_steps.cli._view_options import add_views  # noqa: PLC0415 -- as said

    doctor = commands.add_parser("doctor", help="show what a run would find", description=_DOCTOR)
    _add_config(doctor)
    doctor.add_argument("--path", action="append", default=[], metavar="DIR", help="also look for modules here")
    doctor.add_argument(
        "--import", action="store_true", dest="imports", help="import the targets' modules, which runs their code"
    )
    add_records(doctor)

    collector = commands.add_parser(
        "collector-config", help="print a configuration for the Collector, or try it", description=_COLLECTOR_CONFIG
    )
    collector.add_argument(
        "name", nargs="?", metavar="NAME", help="which one, or with --check a file of yours; default: list them"
    )
    collector.add_argument(
        "--check", action="store_true", help="start it in a real Collector and send a step through it"
    )
    collector.add_argument("--collector", metavar="PROGRAM", help="the Collector for --check; default: what is found")
    collector.add_argument(
        "--edited-from", metavar="NAME", help="what a file of yours was made of; default: its name, else redaction"
    )
    add_views(commands)
    add_analysis(commands)
    add_import(commands)
    add_export(commands)
    add_serve(commands)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration; default: OTEL_HARN_STEPS_CONFIG, harn-steps.toml or pyproject.toml in this folder",
    )


def complain(message: str) -> None:
    """Say on stderr what is wrong."""
    print(f"otel-harn-steps: {message}", file=sys.stderr)
