"""The files of cost snapshots: one JSON file for each file of tests, to be reviewed and committed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._version import __version__
from otel_harn_steps.testing._cost_entry import Entry, is_entry

FOLDER: Final = "__cost_snapshots__"
_VERSION: Final = 1


class CostSnapshotError(ValueError):
    """A file of cost snapshots cannot be read; the message names it, and says what to do."""


def file_of(tests: Path) -> Path:
    """Where the snapshots of a file of tests are."""
    name = tests.stem if tests.suffix == ".py" else tests.name
    return tests.parent / FOLDER / f"{name}.json"


def tests_of(file: Path) -> Path:
    """The Python file of tests whose snapshots are in `file`."""
    return file.parent.parent / f"{file.stem}.py"


def read(file: Path) -> dict[str, Entry]:
    """The entries of a file by their tests. A file that is not there has none.

    Raises:
        CostSnapshotError: it is damaged, or of a newer version of this package.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        hint = "a merge has left a conflict in it" if "<<<<<<<" in text else "restore it, or delete it to write it anew"
        raise CostSnapshotError(f"{file} is no JSON ({error}): {hint}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > _VERSION:
        raise CostSnapshotError(
            f"{file} has cost snapshots of version {version}; otel-harn-steps {__version__} reads versions up to "
            f"{_VERSION}: upgrade it"
        )
    tests = content.get("tests") if isinstance(content, dict) else None
    if version != _VERSION or not isinstance(tests, dict) or not all(map(is_entry, tests.values())):
        raise CostSnapshotError(f"{file} has no cost snapshots in it: restore it, or delete it to write it anew")
    return tests


def write(file: Path, tests: dict[str, Entry]) -> bool:
    """Write the entries, in an order that does not depend on when tests ran. No entries: remove the file.

    Returns:
        Whether that changed the file.
    """
    if not tests:
        file.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            file.parent.rmdir()
        return True
    content = {"version": _VERSION, "tests": dict(sorted(tests.items()))}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return False
    file.parent.mkdir(exist_ok=True)
    whole = file.with_suffix(".json.new")
    whole.write_text(text, encoding="utf-8", newline="\n")
    whole.replace(file)
    return True
