"""What the app saw, written down so that two runs can be compared to the last attribute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SERVER_HEADERS = frozenset({"date", "server", "content-length", "transfer-encoding"})
_ERROR_ATTRIBUTES = (
    "status_code",
    "request_id",
    "body",
    "code",
    "param",
    "type",
    "completion",
    "doc",
    "pos",
    "__notes__",
)
_ABSENT = "<absent>"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Seen:
    """Everything the app saw in one run, in order. The address of the server reads `<server>`."""

    def __init__(self, base_url: str) -> None:
        self.entries: list[tuple[str, Any]] = []
        self.kept: list[object] = []
        """What the app still holds when its step ends."""
        self._base_url = base_url
        self._open: set[int] = set()

    def note(self, label: str, value: object) -> None:
        """Write the value down as it is now: models that change later do not change the note."""
        self.entries.append((label, self._described(value)))

    def values(self, label: str) -> list[Any]:
        """The notes under this label."""
        return [value for noted, value in self.entries if noted == label]

    def stream(self, stream: Any) -> None:
        """Note what a stream is: its very type, what it claims to be, what can be called on it."""
        self.note(
            "stream", (type(stream), stream.__class__, [name for name in dir(stream) if not name.startswith("_")])
        )

    def response(self, response: Any) -> None:
        """Note what a raw response says of itself. The body is left alone."""
        self.note(
            "response", (type(response), response.__class__, response.status_code, response.method, response.is_closed)
        )
        self.note("url", str(response.url))
        self.note(
            "headers",
            [(name, value) for name, value in response.headers.items() if name.lower() not in _SERVER_HEADERS],
        )

    def raised(self, error: BaseException) -> None:
        """Note an exception, and the chain of what caused it."""
        self.note("raised", error)

    def _described(self, value: object) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return value.replace(self._base_url, "<server>")
        if isinstance(value, Mapping):
            return type(value), tuple((self._described(key), self._described(item)) for key, item in value.items())
        if isinstance(value, list | tuple):
            return type(value), tuple(self._described(item) for item in value)
        return self._object(value)

    def _object(self, value: object) -> Any:
        if isinstance(value, type | bytes):
            return value
        if isinstance(value, BaseException):
            return self._error(value)
        if hasattr(value, "model_fields_set") and hasattr(value, "model_extra"):
            return self._model(value)
        if type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__:
            return self._plain(value)
        return type(value), _ADDRESS.sub("", str(value)).replace(self._base_url, "<server>")

    def _plain(self, value: object) -> Any:
        """An object whose fields cannot be listed."""
        if id(value) in self._open:
            return type(value), "<itself>"
        self._open.add(id(value))
        held = tuple((name, self._described(each)) for name, each in getattr(value, "__dict__", {}).items())
        self._open.discard(id(value))
        return type(value), held

    def _model(self, model: Any) -> Any:
        """A model of pydantic."""
        return (
            type(model),
            tuple((name, self._described(value)) for name, value in vars(model).items()),
            tuple(sorted(model.model_fields_set)),
            self._described(model.model_extra),
        )

    def _error(self, error: BaseException) -> Any:
        attributes = tuple((name, self._described(getattr(error, name, _ABSENT))) for name in _ERROR_ATTRIBUTES)
        cause = None if error.__cause__ is None else self._error(error.__cause__)
        during = type(error.__context__)
        return type(error), str(error).replace(self._base_url, "<server>"), attributes, cause, during


def first_difference(expected: Seen, got: Seen) -> str | None:
    """Where two runs part, in words; None if they never do."""
    for index, (one, other) in enumerate(zip(expected.entries, got.entries, strict=False)):
        if one[0] != other[0]:
            return f"entry {index}: expected {one!r:.400}, got {other!r:.400}"
        if one != other:
            return f"entry {index} ({one[0]}): {_path(one, other)}"
    if len(expected.entries) != len(got.entries):
        longer, owner = (expected, "expected") if len(expected.entries) > len(got.entries) else (got, "got")
        shorter = min(len(expected.entries), len(got.entries))
        return f"only {owner} has entry {shorter}: {longer.entries[shorter]!r:.400}"
    return None


def _path(one: Any, other: Any) -> str:
    """The innermost pair of values that differ."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return f"[{index}]{_path(left, right)}"
    return f" expected {one!r:.600}, got {other!r:.600}"
