"""Where a protocol reports usage, as a table of paths.

A table knows the dialects of many servers, and a response speaks one of them. So a function is compiled for each set of
names that usage comes under, which looks at these alone. That is done once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from otel_harn_steps._calls.fields import fields_of
from otel_harn_steps._cost.usage import Usage, token_count

Paths = str | tuple[str, ...]
"""Where a count stands: dotted paths, the first that holds a count wins."""

UsageReader = Callable[[Any], Usage | None]
"""Reads a usage object. None where it reports neither input nor output."""

_SIDES: Final = ("input_tokens", "output_tokens")
_MOST_TOKENS: Final = 10**15
_MOST_READERS: Final = 64  # names come from outside: they must not fill the memory


def usage_table(
    *, outside_input: tuple[str, ...] = (), outside_output: tuple[str, ...] = (), **paths: Paths
) -> UsageReader:
    """A function that reads usage from these places.

    Args:
        outside_input: counts that the provider leaves out of its input tokens; they are added.
        outside_output: the same for its output tokens.
        paths: by field of `Usage`, where the count stands. What is left out is 0.
    """
    table = {name: (places,) if isinstance(places, str) else places for name, places in paths.items()}
    outside = {"input_tokens": outside_input, "output_tokens": outside_output}
    known = frozenset(_begin(path) for places in table.values() for path in places)
    read_all = _reader(table, outside)
    readers: dict[frozenset[str], UsageReader] = {}

    def reader_of(present: frozenset[str]) -> UsageReader:
        if len(readers) >= _MOST_READERS:
            return read_all
        here = {name: tuple(each for each in places if _begin(each) in present) for name, places in table.items()}
        made = readers[present] = _reader(here, outside)
        return made

    def read(source: Any) -> Usage | None:
        reported = fields_of(source)
        if type(reported) is not dict:
            return read_all(reported)
        present = known.intersection(reported)
        return (readers.get(present) or reader_of(present))(reported)

    return read


def _begin(path: str) -> str:
    return path.partition(".")[0]


def _reader(table: Mapping[str, tuple[str, ...]], outside: Mapping[str, tuple[str, ...]]) -> UsageReader:
    """What reads the fields of a usage object at the places of a table."""
    code = _Code()
    for name, places in table.items():
        code.count(f"v_{name}", places, missing="None" if name in _SIDES else "0")
    sides = [f"v_{side} is None" for side in _SIDES if table.get(side)]
    code.line(f"if {' and '.join(sides) or True}: return None")
    for side, parts in outside.items():
        if parts:
            code.line(f"if v_{side} is not None: v_{side} += {' + '.join(f'v_{part}' for part in parts)}")
    values = (f"v_{each.name}" if each.name in table else repr(_MISSING[each.name]) for each in fields(Usage))
    code.line(f"return Usage({', '.join(values)})")
    return code.compiled()


_MISSING: Final = {each.name: None if each.name in _SIDES else 0 for each in fields(Usage)}


class _Code:
    """The source of a reader, line by line. It reads each part of the usage object once."""

    def __init__(self) -> None:
        self._lines = ["def read(f):"]
        self._opened = {"": "f"}

    def line(self, text: str) -> None:
        self._lines.append(f" {text}")

    def count(self, variable: str, places: tuple[str, ...], *, missing: str) -> None:
        """Read the count at the first of `places` that holds one into `variable`."""
        if not places:
            self.line(f"{variable} = {missing}")
        for number, path in enumerate(places):
            parent, _, name = path.rpartition(".")
            read = f"{variable} = {self._open(parent)}.get({name!r})"
            self.line(read if number == 0 else f"if {variable} is None: {read}")
            # Nearly every count is missing or a plain integer: no call for those.
            is_odd = f"type({variable}) is not int or not 0 <= {variable} <= {_MOST_TOKENS}"
            self.line(f"if {is_odd}: {variable} = None if {variable} is None else token_count({variable})")
        if places and missing != "None":
            self.line(f"if {variable} is None: {variable} = {missing}")

    def _open(self, path: str) -> str:
        if path not in self._opened:
            parent, _, name = path.rpartition(".")
            above = self._open(parent)
            variable = self._opened[path] = f"f{len(self._opened)}"
            self.line(f"{variable} = {above}.get({name!r})")
            self.line(f"{variable} = nothing if {variable} is None else fields_of({variable})")
        return self._opened[path]

    def compiled(self) -> UsageReader:
        made: dict[str, Any] = {"fields_of": fields_of, "nothing": {}, "token_count": token_count, "Usage": Usage}
        exec("\n".join(self._lines), made)  # noqa: S102 -- source made above, of the names in this package's tables
        reader: UsageReader = made["read"]
        return reader
