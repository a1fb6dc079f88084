"""Requests and answers as keyed hashes, to tell whether two are the same. Nothing of their content is kept.

The key is made anew in each process, so that a hash says nothing outside of it. None is ever exported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sized
from enum import Enum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from otel_harn_steps._cost.estimate import generated_text
from otel_harn_steps._cost.estimate.values import decoded, fields_of
from otel_harn_steps._steps.telling import is_budget_line, without_budget_line

_KEY: Final = os.urandom(32)
_DIGEST_BYTES: Final = 16
# A body of more or deeper values than these is like no other.
_MOST_VALUES: Final = 50_000
_DEEPEST: Final = 64

_MESSAGES: Final = ("messages", "contents", "input", "inputs", "chat_history")
# What holds a whole body.
_BODIES: Final = frozenset({"body", "json", "json_data", "request", "request_parameters"})
# What says nothing about the question: two requests may differ in it and be the same.
_ASIDE: Final = frozenset(
    {
        "cachePoint", "cache_control", "client", "extra_headers", "extra_query", "headers", "litellm_call_id",
        "litellm_logging_obj", "litellm_metadata", "metadata", "timeout",
    }
)  # fmt: skip
# What is new each time that the same is said: in messages, not in parameters.
_NEW_EACH_TIME: Final = frozenset(
    {
        "cachePoint", "cache_control", "call_id", "encrypted_content", "id", "signature", "thoughtSignature",
        "thought_signature", "toolUseId", "tool_call_id", "tool_use_id",
    }
)  # fmt: skip
# Where any name may be the app's own: a tool's arguments, and its result.
_VERBATIM: Final = frozenset({"args", "arguments", "input", "json", "output", "parameters", "response", "tools"})
_NONE: Final[frozenset[str]] = frozenset()
# Written as what they are by `str`; of other objects without fields nothing is known.
_WRITTEN_BY: Final = frozenset({"datetime", "decimal", "fractions", "pathlib", "uuid", "zoneinfo"})


class Fingerprint(NamedTuple):
    """What tells whether a request is the same as another, or one that has grown out of it.

    Attributes:
        whole: of the whole request.
        messages: of each message.
        up_to: of the request as it would be if it ended with each message.
    """

    whole: bytes
    messages: tuple[bytes, ...]
    up_to: tuple[bytes, ...]


class _UnknowableError(Exception):
    """A body that is too large, or that holds what cannot be compared."""


class AnswerHash:
    """The fingerprint of an answer, made event by event."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = _new_hash()

    def add(self, event: object) -> None:
        """Take in one event of a stream, or a whole response, as `generated_text` takes it."""
        self._hash.update(generated_text(event).encode("utf-8", "surrogatepass"))

    def fingerprint(self) -> bytes:
        """Of what has been added so far."""
        return self._hash.digest()


def answer_fingerprint(answer: object) -> bytes:
    """The fingerprint of a whole response, or of its text."""
    hashed = AnswerHash()
    hashed.add(answer)
    return hashed.fingerprint()


def request_fingerprint(body: object) -> Fingerprint:
    """The fingerprint of a request. Ids, marks for a cache, headers, metadata and the line of what is left are no part.

    A request that cannot be compared is like no other: it has more than 50,000 values, contains itself, or holds an
    open file, an image in memory, a generator.

    Args:
        body: what is sent: JSON-like values, objects of a client, JSON text in `body`.
    """
    walk = _Walk()
    try:
        settings = walk.settings_of(body)
        messages = tuple(walk.message(each) for each in walk.messages if not _tells_only(each))
    except _UnknowableError:
        return Fingerprint(os.urandom(_DIGEST_BYTES), (), ())
    hashed = _new_hash(settings)
    up_to = []
    for each in messages:
        hashed.update(each)
        up_to.append(hashed.digest())
    return Fingerprint(hashed.digest(), messages, tuple(up_to))


def digest_of(*parts: bytes) -> bytes:
    """One digest of several."""
    return _new_hash(b"".join(parts)).digest()


def _new_hash(begin: bytes = b"") -> blake2b:
    return blake2b(begin, digest_size=_DIGEST_BYTES, key=_KEY, usedforsecurity=False)


class _Walk:
    """One walk over a request: writes each value so that no two different ones are written alike."""

    def __init__(self) -> None:
        self.messages: Iterable[Any] = ()
        self._has_messages = False
        self._left = _MOST_VALUES
        self._written: list[bytes] = []

    def settings_of(self, body: object) -> bytes:
        """The digest of all but the messages, which are in `messages` then."""
        self._body(body, 0)
        return self._digest()

    def message(self, message: object) -> bytes:
        """The digest of one message."""
        self._value(message, 0, _NEW_EACH_TIME)
        return self._digest()

    def _digest(self) -> bytes:
        hashed = _new_hash(b"".join(self._written))
        self._written.clear()
        return hashed.digest()

    def _body(self, body: object, depth: int) -> None:
        body = decoded(body)
        fields = fields_of(body)
        if not fields:
            self._value(body, depth, _ASIDE)
            return
        self._enter(fields, depth)
        self._written.append(b"{")
        for name, value in _in_order(fields, _ASIDE):
            self._text(name)
            if name in _BODIES:
                self._body(value, depth + 1)
            elif name in _MESSAGES and isinstance(value, (list, tuple)) and not self._has_messages:
                self._enter(value, depth)
                self.messages, self._has_messages = value, True
            else:
                self._value(value, depth + 1, _NONE if name in _VERBATIM else _ASIDE)
        self._written.append(b"}")

    def _enter(self, container: Sized, depth: int) -> None:
        self._left -= 1 + len(container)
        if self._left < 0 or depth > _DEEPEST:
            raise _UnknowableError

    def _value(self, value: Any, depth: int, ignored: frozenset[str]) -> None:
        if isinstance(value, str):
            self._text(value)
        elif value is None or isinstance(value, (bool, float)):
            self._written.append(b"%a;" % (value,))
        elif isinstance(value, int):
            self._written.append(b"%x;" % value)
        elif isinstance(value, (bytes, bytearray)):
            self._written += (b"b%d:" % len(value), bytes(value))
        elif isinstance(value, (list, tuple)):
            self._enter(value, depth)
            self._written.append(b"[")
            for each in value:
                self._value(each, depth + 1, ignored)
            self._written.append(b"]")
        elif isinstance(value, Mapping):
            self._fields(value, depth, ignored)
        else:
            self._object(value, depth, ignored)

    def _fields(self, fields: Mapping[Any, Any], depth: int, ignored: frozenset[str]) -> None:
        if ignored is _NEW_EACH_TIME and fields.get("type") == "item_reference":
            ignored = _NONE  # its id is what it says
        self._enter(fields, depth)
        self._written.append(b"{")
        for name, value in _in_order(fields, ignored):
            self._text(name)
            self._value(value, depth + 1, _NONE if name in _VERBATIM else ignored)
        self._written.append(b"}")

    def _object(self, value: Any, depth: int, ignored: frozenset[str]) -> None:
        kind = type(value)
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):  # a tool, a schema
            self._text(f"{value.__module__}.{value.__qualname__}")
        elif isinstance(value, Enum):
            self._value(value.value, depth + 1, ignored)
        elif kind.__module__.partition(".")[0] in _WRITTEN_BY:
            self._text(str(value))
        elif callable(value) or hasattr(value, "read") or not hasattr(value, "__dict__"):
            raise _UnknowableError
        else:
            self._fields(fields_of(value), depth, ignored)

    def _text(self, text: str) -> None:
        encoded = without_budget_line(text).encode("utf-8", "surrogatepass")
        self._written += (b"s%d:" % len(encoded), encoded)


def _tells_only(message: object) -> bool:
    """Whether a message has nothing but the line by which a model is told what is left."""
    return isinstance(message, Mapping) and is_budget_line(message.get("content"))


def _in_order(fields: Mapping[Any, Any], ignored: frozenset[str]) -> list[tuple[str, Any]]:
    """The fields that are set, in the order of their names. `...` is how Cohere's client leaves one out."""
    found = [
        (str(name), value)
        for name, value in fields.items()
        if value is not None and value is not ... and name not in ignored
    ]
    found.sort(key=_name_of)
    return found


def _name_of(field: tuple[str, Any]) -> str:
    return field[0]
