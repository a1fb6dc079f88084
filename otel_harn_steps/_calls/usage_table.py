"""Where a protocol reports usage, as a table of paths.

A table knows the dialects of many servers, and a response speaks one of them. So a function is compiled for each set of
names that usage comes under, which looks at these alone. That is done once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    values = {name: str(missing) for name, missing in _MISSING.items()}
    places = {name: found for name, found in table.items() if found}
    for name in sorted(places, key=list(values).index):  # the sides are the first
        values[name] = f"v_{name}"
    sides = [side for side in _SIDES if side in places]
    for side in sides:
        code.count(values[side], places[side], missing="None")
    code.line(f"if {' and '.join(f'{values[side]} is None' for side in sides) or True}: return None")
    parts = {name: found for name, found in places.items() if name not in _SIDES}
    code.line(f"if {code.has_none(path for found in parts.values() for path in found)}:")
    code.line(f" return Usage({', '.join(values[side] for side in _SIDES)})")
    for name, found in parts.items():
        code.count(values[name], found, missing="0")
    for side in sides:
        if outside[side]:
            more = " + ".join(values[part] for part in outside[side])
            code.line(f"if {values[side]} is not None: {values[side]} += {more}")
    code.line(f"return Usage({', '.join(values.values())})")
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
        for number, path in enumerate(places):
            parent, _, name = path.rpartition(".")
            read = f"{variable} = {self._open(parent)}.get({name!r})"
            self.line(read if number == 0 else f"if {variable} is None: {read}")
            # Nearly every count is missing or a plain integer: no call for those.
            is_odd = f"type({variable}) is not int or not 0 <= {variable} <= {_MOST_TOKENS}"
            self.line(f"if {is_odd}: {variable} = None if {variable} is None else token_count({variable})")
        if missing != "None":
            self.line(f"if {variable} is None: {variable} = {missing}")

    def has_none(self, paths: Iterable[str]) -> str:
        """A condition that only holds where there is no count at any of `paths`, as in most answers."""
        conditions = []
        for begin, is_opened in dict.fromkeys((_begin(path), "." in path) for path in paths):
            if is_opened:
                opened = self._open(begin)
                conditions.append(f"type({opened}) is dict and not any({opened}.values())")
            else:
                conditions.append(f"not f.get({begin!r})")
        return " and ".join(conditions) or "True"

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
