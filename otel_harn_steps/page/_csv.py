"""Views as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of plain JSON values as CSV. What is inside another value has a column of its own: `spend.calls`.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    flat = [dict(_columns(row, "")) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in flat for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _columns(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _columns(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
        elif isinstance(value, str) and value.startswith(_FORMULA):
            yield f"{prefix}{name}", f"'{value}"
        else:
            yield f"{prefix}{name}", value
