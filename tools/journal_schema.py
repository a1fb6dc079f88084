"""Writes the JSON Schema of the journal's lines, which follows from the dataclasses that they are made of.

python tools/journal_schema.py           writes it
python tools/journal_schema.py --check   exits with 1 if it is not current
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_type_hints

from pydantic import Field, create_model
from pydantic.json_schema import GenerateJsonSchema

from otel_harn_steps._telemetry import call_row, journal_lines, record
from otel_harn_steps._telemetry.journal_lines import (
    CALL_SENT,
    CALL_SETTLED,
    FIELDS_AT_SEND,
    HEADER,
    LINES,
    STEP_ENDED,
    STEP_STARTED,
    VERSION,
)

_SCHEMA: Final = Path(__file__).parent.parent / "otel_harn_steps" / "store" / "journal.schema.json"
_NOTE: Final = {
    "type": "object",
    "description": "A fact that is neither a call's nor a step's. Readers pass over those that they do not know.",
    "properties": {
        "event": {"type": "string", "not": {"enum": list(LINES)}},
        "at": {"type": "integer", "description": "Nanoseconds since the epoch."},
    },
    "required": ["event", "at"],
}


def schema() -> str:
    """The schema of one line."""
    definitions: dict[str, Any] = {}
    lines = {
        HEADER: _line(HEADER, journal_lines, "JournalHeader", definitions),
        CALL_SENT: _line(CALL_SENT, call_row, "CallRow", definitions, only=FIELDS_AT_SEND),
        CALL_SETTLED: _line(CALL_SETTLED, call_row, "CallRow", definitions),
        STEP_STARTED: _line(STEP_STARTED, call_row, "StartedStep", definitions),
        STEP_ENDED: _line(STEP_ENDED, record, "CompletedStep", definitions),
        "note": _NOTE,
    }
    document = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": f"A line of an otel-harn-steps journal, version {VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in lines],
        "$defs": lines | definitions,
    }
    return json.dumps(document, indent=2) + "\n"


def _line(
    event: str, module: ModuleType, name: str, definitions: dict[str, Any], only: frozenset[str] | None = None
) -> Any:
    """The schema of a line: every field is there, and newer versions may have more."""
    kind = getattr(module, name)
    # By the module that it was written in: a public class names the package as its module, where its types are not.
    types: dict[str, Any] = get_type_hints(kind, vars(module))
    meaning, of_fields = _meanings(inspect.getdoc(kind) or "")
    fields: dict[str, Any] = {
        each.name: (types[each.name], Field(description=of_fields.get(each.name))) for each in dataclasses.fields(kind)
    }
    model = create_model(name, __doc__=meaning, **fields)
    written = _tidy(model.model_json_schema(schema_generator=GenerateJsonSchema))
    definitions |= written.pop("$defs", {})
    properties = {name: each for name, each in written["properties"].items() if only is None or name in only}
    return written | {"properties": {"event": {"const": event}, **properties}, "required": ["event", *properties]}


def _meanings(docstring: str) -> tuple[str, dict[str, str]]:
    """What a class is, and what its fields are."""
    meaning, _, attributes = docstring.partition("\nAttributes:\n")
    found = re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE)
    return meaning, {name: text for names, text in found for name in names.split(", ")}


def _tidy(written: Any) -> Any:
    """Without titles made from names, and without defaults: every field is written."""
    if isinstance(written, list):
        return [_tidy(each) for each in written]
    if not isinstance(written, dict):
        return written
    tidy = {key: _tidy(each) for key, each in written.items() if key not in ("title", "default")}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = " ".join(tidy["description"].split())
    return tidy


def main() -> int:
    """Write, or check."""
    text = schema()
    if _SCHEMA.is_file() and _SCHEMA.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in sys.argv:
        print(f"{_SCHEMA} is not current: run {Path(__file__).name}")
        return 1
    _SCHEMA.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
