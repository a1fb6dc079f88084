"""`otel-harn-steps completion`: what a shell needs to complete the command."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from otel_harn_steps.cli._command import complain, make_parser
from otel_harn_steps.store import DIMENSIONS

_USAGE_ERROR = 2


def completion(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    try:
        shtab = importlib.import_module("shtab")  # an extra
    except ModuleNotFoundError as error:
        complain(f"making it needs {error.name}: pip install 'otel-harn-steps[cli]'")
        return _USAGE_ERROR
    parser = make_parser()
    words = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    for action in _actions(parser):
        if action.metavar in words:
            action.complete = words[str(action.metavar)]  # type: ignore[attr-defined]  # shtab looks for it
        elif action.dest == "by":
            action.choices = DIMENSIONS  # and labels, which nobody can list
    try:
        print(shtab.complete(parser, arguments.shell))
    except NotImplementedError:
        complain(f"the installed shtab knows nothing of {arguments.shell}: pip install --upgrade shtab")
        return _USAGE_ERROR
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
