"""`otel-harn-steps import`: what others have written of calls and steps, into the records."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import add_records, records_folder

if TYPE_CHECKING:
    from otel_harn_steps.store.imports import ImportReport

DESCRIPTION: Final = """
Import what others have written of calls and steps: records (JSON lines of steps), calls (JSON lines of export), otlp
(OTLP/JSON files of the Collector), claude-code and codex (the logs that these tools keep; without PATH, those where
they keep them). What is imported once more changes nothing. No prompt and no answer is taken.
Exits with 1 if runs were left out whose records have more.
"""
_MOST_NAMED: Final = 3


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser("import", help="read what others have written", description=DESCRIPTION)
    command.add_argument("kind", metavar="KIND", help="auto, records, calls, otlp, claude-code or codex")
    command.add_argument("paths", nargs="*", metavar="PATH", help="files, or folders with all that is in them")
    add_records(command)
    command.add_argument("--json", action="store_true", help="print what was imported as JSON")


def import_into_records(arguments: argparse.Namespace) -> int:
    """Import. Returns the exit code."""
    try:
        from otel_harn_steps.store.imports import import_files  # noqa: PLC0415 -- only what the command needs

        report = import_files(arguments.kind, arguments.paths, records_folder(arguments.records))
    except ModuleNotFoundError as error:
        complain(f"importing needs {error.name}: pip install 'otel-harn-steps[cli]'")
        return 2
    except (OSError, ValueError) as error:
        complain(str(error))
        return 2
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(_sentence(report))
    _complain(report)
    return 1 if report.less else 0


def _sentence(report: ImportReport) -> str:
    from otel_harn_steps.store._numbers import counted, dollars  # noqa: PLC0415 -- as above

    runs = report.new + report.changed + report.same
    parts = [
        f"{number:,} {what}"
        for number, what in ((report.new, "new"), (report.changed, "grown"), (report.same, "as they were"))
        if number
    ]
    if not runs:
        return "nothing to import"
    spent = dollars(report.cost_picousd) + ("?" if report.unpriced else "")
    return (
        f"{counted(runs, 'run')} ({', '.join(parts)}): "
        f"{counted(report.steps, 'step')}, {counted(report.calls, 'call')}, {spent}"
    )


def _complain(report: ImportReport) -> None:
    from otel_harn_steps.store._numbers import counted, shown  # noqa: PLC0415 -- as above

    for each in report.damaged[:_MOST_NAMED]:
        complain(f"a line is left out, 1 of {report.damaged_lines}: {shown(str(each))}")
    if report.unpriced:
        complain(f"no price is known for {_named(report.unpriced)}: what they cost is unknown")
    if report.journaled:
        complain(f"{counted(len(report.journaled), 'run')} left out, which have written journals here: they know more")
    if report.less:
        complain(
            f"{counted(len(report.less), 'run')} left out, of which the records have what these files do not have "
            f"({_named(report.less)}): import all files of a run together"
        )


def _named(names: set[str] | list[str]) -> str:
    from otel_harn_steps.store._numbers import shown  # noqa: PLC0415 -- as above

    some = ", ".join(shown(each) for each in sorted(names)[:_MOST_NAMED])
    return f"{some}, ..." if len(names) > _MOST_NAMED else some
