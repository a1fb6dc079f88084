"""Where a protocol reports usage, as a table of paths. A table is compiled once, at import, into one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_harn_steps._calls.fields import fields_of
from otel_harn_steps._cost.usage import Usage, token_count

Paths = str | tuple[str, ...]
"""Where a count stands: dotted paths, the first that holds a count wins."""

UsageReader = Callable[[Any], Usage | None]
"""Reads a usage object. None where it reports neither input nor output."""

_MOST_TOKENS = 10**15


def usage_table(
    *, outside_input: tuple[str, ...] = (), outside_output: tuple[str, ...] = (), **paths: Paths
) -> UsageReader:
    """A function that reads usage from these places.

    Args:
        outside_input: counts that the provider leaves out of its input tokens; they are added.
        outside_output: the same for its output tokens.
        paths: by field of `Usage`, where the count stands. What is left out is 0.
    """
    code = _Code()
    values = {name: code.count(f"v_{name}", places) for name, places in paths.items()}
    code.line(f"if v_input_tokens is None and {values.get('output_tokens')} is None: return None")
    for name in values:
        if name not in ("input_tokens", "output_tokens"):
            code.line(f"if v_{name} is None: v_{name} = 0")
    for side, parts in (("input_tokens", outside_input), ("output_tokens", outside_output)):
        if parts:
            code.line(f"if v_{side} is not None: v_{side} += {' + '.join(f'v_{part}' for part in parts)}")
    arguments = ", ".join(f"{name}={variable}" for name, variable in values.items())
    missing = "" if "output_tokens" in values else ", output_tokens=None"
    code.line(f"return Usage({arguments}{missing})")
    return code.compiled()


class _Code:
    """The source of a reader, line by line. It reads each part of the usage object once."""

    def __init__(self) -> None:
        self._lines = ["def read(source):", " f = fields_of(source)"]
        self._opened = {"": "f"}

    def line(self, text: str) -> None:
        self._lines.append(f" {text}")

    def count(self, variable: str, places: Paths) -> str:
        """Read the count at the first of `places` that holds one into `variable`."""
        for number, path in enumerate((places,) if isinstance(places, str) else places):
            parent, _, name = path.rpartition(".")
            read = f"{variable} = {self._open(parent)}.get({name!r})"
            self.line(read if number == 0 else f"if {variable} is None: {read}")
            # Nearly every count is missing or a plain integer: no call for those.
            is_odd = f"(type({variable}) is not int or not 0 <= {variable} <= {_MOST_TOKENS})"
            self.line(f"if {variable} is not None and {is_odd}: {variable} = token_count({variable})")
        return variable

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
