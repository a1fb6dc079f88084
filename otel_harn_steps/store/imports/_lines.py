"""Files of JSON lines that others have written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from otel_harn_steps.store._lines import may_have_surrogates, without_surrogates
from otel_harn_steps.store._reading import DamagedLine

_MOST_LISTED: Final = 100
_NS_PER_S: Final = 10**9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Final[Mapping[str, Any]] = {}


class Problems:
    """What could not be read.

    Attributes:
        damaged: the first hundred lines that could not be read, and why.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.damaged: list[DamagedLine] = []
        self.count = 0

    def add(self, path: Path, line: int, reason: str) -> None:
        """Note a line that cannot be read."""
        self.count += 1
        if len(self.damaged) < _MOST_LISTED:
            self.damaged.append(DamagedLine(path, line, reason))


def json_lines(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, with the numbers of their lines.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):  # the last: it is nested too deeply for `json`
                problems.add(path, number, "is no JSON")
                continue
            if isinstance(values, dict):
                yield number, without_surrogates(values) if may_have_surrogates(line) else values
            else:
                problems.add(path, number, "is no JSON object")


def stable_id(*parts: str) -> str:
    """The same 16 hex digits for the same names, whenever they are imported."""
    return hashlib.blake2b("\0".join(parts).encode(errors="backslashreplace"), digest_size=8).hexdigest()


def mapping_in(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object that `values` has under a name. Empty: it has none."""
    found = values.get(name)
    return found if isinstance(found, dict) else _NOTHING


def text_in(values: Mapping[str, Any], name: str) -> str | None:
    """The text that `values` has under a name. None: it has none, or an empty one."""
    found = values.get(name)
    return found if isinstance(found, str) and found else None


def time_in(values: Mapping[str, Any], name: str) -> int | None:
    """The time that `values` has under a name as ISO 8601 with a time zone, in nanoseconds since the epoch."""
    text = text_in(values, name)
    try:
        found = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    if found is None or found.tzinfo is None or found < _EPOCH:
        return None
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NS_PER_S + since.microseconds * 1000


def folder_name(path: str | None) -> str | None:
    """The last part of the path of a folder, as of any operating system."""
    return None if path is None else path.replace("\\", "/").rstrip("/").rpartition("/")[2] or None
