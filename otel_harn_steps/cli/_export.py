"""`otel-harn-steps export`: the calls, or the runs of steps, for other programs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import add_filter, open_store, read_filter

DESCRIPTION: Final = """
Print the calls of the records, or the runs of steps, as JSON lines or CSV; or write them to a file, also as Parquet.
Costs are integers of pico-dollars (a million millionth of a dollar), with US dollars next to them in CSV and Parquet.
"""
FORMATS: Final = ("jsonl", "csv", "parquet")


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser("export", help="calls or steps as JSON lines, CSV, Parquet", description=DESCRIPTION)
    command.add_argument(
        "--format", choices=FORMATS, help="default: as the ending of --out says, else jsonl; parquet needs pyarrow"
    )
    command.add_argument("--what", choices=("calls", "steps"), default="calls", help="default: calls")
    command.add_argument("--out", metavar="FILE", help="where to; default: print it")
    add_filter(command)


def export(arguments: argparse.Namespace) -> int:
    """Export. Returns the exit code."""
    form = arguments.format or _form_of(arguments.out)
    try:
        chosen = read_filter(arguments)
        if form == "parquet" and arguments.out is None:
            raise ValueError("parquet is written to a file: --out FILE")  # noqa: TRY301 -- said like the others
    except ValueError as error:
        complain(str(error))
        return 2
    from otel_harn_steps.store import _tables  # noqa: PLC0415 -- only what the command needs

    with open_store(arguments) as store:
        is_calls = arguments.what == "calls"
        rows = store.calls(chosen) if is_calls else store.step_runs(chosen)
        columns = _tables.CALL_COLUMNS if is_calls else _tables.STEP_COLUMNS
        try:
            with _output(arguments.out) as file:
                _tables.WRITERS[form](rows, columns, file)
        except ModuleNotFoundError as error:
            complain(f"--format parquet needs {error.name}: pip install 'otel-harn-steps[parquet]'")
            return 2
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(f"--out {arguments.out}: {error.strerror or error}")
            return 2
    return 0


def _form_of(out: str | None) -> str:
    ending = "" if out is None else Path(out).suffix.removeprefix(".").lower()
    return ending if ending in FORMATS else "jsonl"


@contextmanager
def _output(out: str | None) -> Iterator[IO[bytes]]:
    """What is printed, or a file that is there when it is whole."""
    if out is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    beside = Path(f"{out}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
