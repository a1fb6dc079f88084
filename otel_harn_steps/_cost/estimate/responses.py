"""What a model generated, in the responses of every client, and the tokens that it is taken for."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from otel_harn_steps._cost.estimate.values import decoded, fields_of, size_of, tokens_in

_WITHIN, _ARGUMENTS, _TEXT_ONLY, _NAME, _THOUGHTS, _SOUND, _MEDIA = 1, 2, 3, 4, 5, 6, 7
# Where generated text is, and what leads to it.
_GENERATED: Final = {
    **dict.fromkeys(
        (
            "candidates", "choices", "code", "completion", "completions", "content", "contentBlockDelta",
            "contentBlockStart", "content_block", "custom", "data", "delta", "executableCode", "executable_code",
            "function", "functionCall", "function_call", "generation", "generations", "message", "output", "outputText",
            "outputs", "partial_json", "parts", "reasoningContent", "reasoningText", "reasoning_content", "refusal",
            "result", "results", "start", "steps", "summary", "text", "thinking", "token", "toolUse", "tool_calls",
            "tool_plan", "transcript", "value",
        ),
        _WITHIN,
    ),
    **dict.fromkeys(("args", "arguments", "input"), _ARGUMENTS),
    **dict.fromkeys(("generated_text", "response"), _TEXT_ONLY),  # elsewhere they hold all that came before
    "name": _NAME,
    "reasoning": _THOUGHTS,
    "audio": _SOUND,
    **dict.fromkeys(("images", "inlineData", "inline_data"), _MEDIA),
}  # fmt: skip
# Kinds of event that repeat the text of earlier ones, and those with sound.
_REPEATING: Final = re.compile(
    r"\.(?:added|complete|completed|created|done|failed|in_progress|incomplete|queued|stop)$|audio\.delta$|^stream-end$"
)
# Events of the Responses API that repeat what deltas bring, but for the name of what is called, and for what calls of
# these tools ask for: no delta has those.
_ITEM_ADDED: Final = "response.output_item.added"
_ITEM_DONE: Final = "response.output_item.done"
_ASKED_AT_ONCE: Final = {
    "computer_call": "action", "local_shell_call": "action", "shell_call": "action", "tool_search_call": "arguments",
}  # fmt: skip
# What a tool that the provider runs has answered is no output of the model. An advisor is a model.
_TOOL_RESULT: Final = re.compile(r"(?<!advisor)(?<!advisor_tool)_result$")
# Groq's systems put it among the thoughts, all of it in one event.
_TOOL_OUTPUT: Final = "<output>", "</output>"
_LEAST_TOOL_OUTPUT: Final = 200
_DEEPEST: Final = 12

TOOL_USE_TOKENS: Final = 25
"""What the use of a tool has besides its name and arguments, about, in the form of Anthropic and of Bedrock."""
IMAGE_TOKENS: Final = 1290
"""What a generated image is taken for: what Gemini's models need for one of up to 1024 by 1024 pixels."""
SOUND_BYTES_PER_TOKEN: Final = 1920
"""Of samples of 16 bits at 24 kHz: 25 tokens a second, as Gemini's models have it. OpenAI's have 20."""


class Generated(NamedTuple):
    """What a model generated.

    Attributes:
        text: content, reasoning, calls of tools.
        more: the tokens that it is taken for besides its text: the form of the use of a tool, sound, images.
    """

    text: str
    more: int = 0

    @property
    def size(self) -> int:
        """UTF-8 bytes of the text."""
        return size_of(self.text)


_NOTHING: Final = Generated("")


def generated(event: object) -> Generated:
    """What was generated in one event of a stream, or in a whole response.

    The text is in the order of the fields, with nothing between them. Arguments that are objects are written as JSON.

    Args:
        event: of any client: its own object, or decoded JSON.
    """
    payload = getattr(event, "payload", None)
    if payload is not None:
        event = _payload_of(payload)
    fields = fields_of(event)
    for name in ("type", "event_type", "event"):
        kind = fields.get(name)
        if kind is not None and isinstance(kind, str) and _repeats(kind):
            return _of_item(kind, fields) if kind in {_ITEM_ADDED, _ITEM_DONE} else _NOTHING
    found = _Found()
    found.collect(event, 0)
    return Generated("".join(found.texts), found.more)


def generated_text(event: object) -> str:
    """The text of what was generated.

    Args:
        event: as for `generated`.
    """
    return generated(event).text


@lru_cache(maxsize=256)
def _repeats(kind: str) -> bool:
    return _REPEATING.search(kind) is not None


@lru_cache(maxsize=256)
def _is_tool_result(kind: str) -> bool:
    return _TOOL_RESULT.search(kind) is not None


def _of_item(kind: str, fields: Mapping[str, Any]) -> Generated:
    item = fields_of(fields.get("item"))
    if kind == _ITEM_ADDED:
        name = item.get("name")
        return Generated(name) if isinstance(name, str) else _NOTHING
    asked = _ASKED_AT_ONCE.get(str(item.get("type")))
    return _NOTHING if asked is None else Generated(_json_of(item.get(asked)))


class _Found:
    """What is found in an event."""

    __slots__ = ("more", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.more = 0

    def collect(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            self.texts.append(value)
        elif depth > _DEEPEST:
            pass
        elif kind is list:
            for each in value:
                self.collect(each, depth + 1)
        else:
            fields = value if kind is dict else fields_of(value)
            if not self.has_no_text(fields):
                self.collect_fields(fields, depth)

    def has_no_text(self, fields: Mapping[str, Any]) -> bool:
        """Whether an object holds no text that was generated, whatever the names in it."""
        said = fields.get("type")
        if said is not None and isinstance(said, str) and _is_tool_result(said):
            return True
        if "mime_type" in fields and fields.get("data") is not None:  # of an interaction with Google's models
            self.more += _media_tokens(fields)
            return True
        return False

    def collect_fields(self, fields: Mapping[str, Any], depth: int) -> None:
        for name, inner in fields.items():
            if inner is not None:
                where = _GENERATED.get(name)
                if where == _WITHIN:
                    self.collect(inner, depth + 1)
                elif where is not None:
                    self.take(where, fields, name, inner, depth)

    def take(self, where: int, fields: Mapping[str, Any], name: str, value: Any, depth: int) -> None:
        if where == _NAME:
            if isinstance(value, str):
                self.texts.append(value)
                self.more += TOOL_USE_TOKENS * _is_tool_use(fields)
        elif where == _THOUGHTS:
            self.collect(_without_tool_output(value) if isinstance(value, str) else value, depth + 1)
        elif where == _SOUND:
            spoken = fields_of(value)
            self.texts.append(_text_of_field(spoken, "transcript", spoken.get("transcript")))
            self.more += _sound_tokens(spoken.get("data"))
        elif where == _MEDIA:
            self.more += _media_tokens(value)
        else:
            self.texts.append(_text_of_field(fields, name, value))


def _without_tool_output(thoughts: str) -> str:
    start, end = thoughts.find(_TOOL_OUTPUT[0]), thoughts.rfind(_TOOL_OUTPUT[1])
    is_found = start >= 0 and end - start > _LEAST_TOOL_OUTPUT
    return thoughts[:start] + thoughts[end + len(_TOOL_OUTPUT[1]) :] if is_found else thoughts


def _is_tool_use(fields: Mapping[str, Any]) -> bool:
    return "toolUseId" in fields or str(fields.get("type")).endswith("tool_use")


def _text_of_field(fields: Mapping[str, Any], name: str, value: Any) -> str:
    if not isinstance(value, str):
        return _json_of(value) if value and _GENERATED[name] == _ARGUMENTS else ""
    # The last event of a text generation server has its own token, and the whole text.
    return "" if name == "generated_text" and fields.get("token") is not None else value


def _json_of(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True)
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _sound_tokens(data: object) -> int:
    """Of samples in base64, or as they are."""
    if isinstance(data, str):
        return len(data) * 3 // 4 // SOUND_BYTES_PER_TOKEN
    return len(data) // SOUND_BYTES_PER_TOKEN if isinstance(data, (bytes, bytearray)) else 0


def _media_tokens(value: Any) -> int:
    if isinstance(value, list):
        return IMAGE_TOKENS * len(value)
    fields = fields_of(value)
    kind = fields.get("mimeType") or fields.get("mime_type")
    is_sound = isinstance(kind, str) and kind.startswith("audio/")
    return _sound_tokens(fields.get("data")) if is_sound else IMAGE_TOKENS


def _payload_of(payload: object) -> object:
    """What an event of AWS says: JSON, or JSON within it, which is what a model's own protocol says."""
    event = decoded(payload)
    inner = event.get("bytes") if isinstance(event, dict) else None
    if not isinstance(inner, str):
        return event
    try:
        return decoded(base64.b64decode(inner))
    except ValueError:
        return None


def output_tokens(size: int, events: int, more: int = 0) -> int:
    """The output tokens of a response, estimated from what arrived of it.

    Args:
        size: bytes of generated text.
        events: how many events brought something; each has at least one token.
        more: tokens besides the text, as `Generated.more` counts them.
    """
    return max(events, tokens_in(size) + more, 0)
