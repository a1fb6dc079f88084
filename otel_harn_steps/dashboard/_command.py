"""The command line of a dashboard that is a file next to its module."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def print_or_write(
    file: Path, dashboard: Callable[[], dict[str, Any]], reader: str, arguments: Sequence[str] | None
) -> int:
    """Print the dashboard, or make its file anew. Returns the exit code.

    Args:
        file: the dashboard as it is printed.
        dashboard: makes it of the panel table.
        reader: who reads it, as in "Print the Grafana dashboard of step spend."
        arguments: of the command line. None: those of the process.
    """
    parser = argparse.ArgumentParser(description=f"Print the {reader} dashboard of step spend.")
    parser.add_argument("--write", action="store_true", help=f"make {file.name} anew from the panel table")
    if parser.parse_args(arguments).write:
        file.write_text(json.dumps(dashboard(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    else:
        sys.stdout.write(file.read_text(encoding="utf-8"))
    return 0
