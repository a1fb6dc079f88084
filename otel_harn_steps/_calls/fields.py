"""Reading the fields of a response, whatever it is: JSON, a pydantic model, or another object of a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from otel_harn_steps._cost.usage import token_count

_NOTHING: Final[dict[str, Any]] = {}


class Fields(Protocol):
    """The fields of a response, or of a part of it."""

    def get(self, name: str, /) -> Any:
        """The field `name`, None where there is no such field."""


class _ObjectFields:
    """Attribute access for objects that are not pydantic models, and for mappings that are not dicts."""

    __slots__ = ("_source",)

    def __init__(self, source: object) -> None:
        self._source = source

    def get(self, name: str, /) -> Any:
        source = self._source
        found = getattr(source, name, None)
        return source.get(name) if found is None and isinstance(source, Mapping) else found


def fields_of(source: object) -> Fields:
    """The fields of `source`; of None, there are none."""
    if type(source) is dict:
        return source
    if source is None:
        return _NOTHING
    # A pydantic model is asked for what it holds, because it takes ten times as long to say that it has no such name.
    try:
        extra: Any = source.__pydantic_extra__  # type: ignore[attr-defined]  # of a model
    except AttributeError:
        return _ObjectFields(source)
    held: dict[str, Any] = source.__dict__
    return {**extra, **held} if extra else held


def field(source: object, path: str) -> Any:
    """What stands at a dotted path in `source`. None where a part of the path is missing."""
    for name in path.split("."):
        source = fields_of(source).get(name)
        if source is None:
            return None
    return source


def count(source: object, path: str) -> int:
    """The count of tokens at a dotted path, with 0 for one that is missing or that is no count."""
    return token_count(field(source, path)) or 0


def items_of(value: Any) -> list[Any]:
    """The items of a list, none of anything else."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str | None:
    """Text, also that of an enumeration's member; None for anything else, and for empty text."""
    if type(value) is not str:
        value = getattr(value, "value", value)
    return value if isinstance(value, str) and value else None
