"""`otel-harn-steps collector-config`: prints a configuration for the OpenTelemetry Collector, or tries it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from otel_harn_steps.cli._collector_files import configurations, purpose
from otel_harn_steps.cli._command import complain

_USAGE_ERROR: Final = 2
# What a file of the user's own is taken for, where its name says nothing.
_DEFAULT: Final = "redaction"
# As releases call it, and as tools/backends.py does.
_COMMANDS: Final = ("otelcol-steps", "otelcol-contrib", "otelcol")


def collector_config(arguments: argparse.Namespace) -> int:
    """Print the configuration, or the list of them, or what a try has shown. Returns the exit code."""
    known = configurations()
    if arguments.name is None:
        if arguments.check:
            complain(
                "say which configuration to check, for example: otel-harn-steps collector-config redaction --check"
            )
            return _USAGE_ERROR
        width = max(map(len, known), default=0)
        for name, path in known.items():
            print(f"{name:{width}}  {purpose(path)}")
        return 0
    name = Path(arguments.name).name
    name = name.removesuffix(".yaml").removesuffix(".yml")
    own = Path(arguments.name)
    if arguments.check and own.suffix in (".yaml", ".yml") and own.is_file():
        return _check(
            own.resolve(), arguments.edited_from or (name if name in known else _DEFAULT), arguments.collector
        )
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        complain(f"there is no configuration {arguments.name!r}; {hint}")
        return _USAGE_ERROR
    if arguments.check:
        return _check(known[name], arguments.edited_from or name, arguments.collector)
    sys.stdout.write(known[name].read_text(encoding="utf-8"))
    return 0


def _check(path: Path, name: str, given: str | None) -> int:
    from otel_harn_steps.cli._collector_check import EXPECTED, check  # noqa: PLC0415 -- only what the command needs

    if name not in EXPECTED:
        complain(f"{name} is not for the Collector, and only those can be checked: {', '.join(EXPECTED)}")
        return _USAGE_ERROR
    programs = _collectors(given)
    if not programs:
        complain(
            f"{given} is not a program that can be run"
            if given
            else f"no OpenTelemetry Collector was found: none of {', '.join(_COMMANDS)} is on PATH, and none is in "
            f"{_cache()}. Install a release of otelcol-contrib, 0.161 or newer, or name the program with --collector"
        )
        return 1
    return check(path, name, programs)


def _collectors(given: str | None) -> list[Path]:
    """The programs that may be a Collector: the one that was given, else those of PATH, else those of the cache."""
    if given is not None:
        found = shutil.which(given)
        return [] if found is None else [Path(found)]
    on_path = [found for command in _COMMANDS if (found := shutil.which(command))]
    cached = sorted(_cache().glob(f"otelcol-*/{_COMMANDS[0]}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [*map(Path, on_path), *cached]


def _cache() -> Path:
    """Where tools/backends.py of a checkout keeps what it has built."""
    named = os.environ.get("OTEL_HARN_STEPS_BACKENDS")
    return Path(named) if named else Path.home() / ".cache" / "otel-harn-steps" / "backends"
