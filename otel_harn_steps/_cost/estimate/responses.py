"""The text that a model generated, in the responses of every client, and the tokens that it is taken for."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from otel_harn_steps._cost.estimate.values import decoded, fields_of, size_of, tokens_in

_WITHIN, _ARGUMENTS, _TEXT_ONLY = 1, 2, 3
# Where generated text is, and what leads to it.
_GENERATED: Final = {
    **dict.fromkeys(
        (
            "candidates", "choices", "code", "completion", "completions", "content", "contentBlockDelta",
            "contentBlockStart", "content_block", "data", "delta", "executableCode", "executable_code", "function",
            "functionCall", "function_call", "generation", "generations", "message", "name", "output", "outputText",
            "outputs", "partial_json", "parts", "reasoning", "reasoningContent", "reasoningText", "reasoning_content",
            "refusal", "result", "results", "start", "steps", "summary", "text", "thinking", "token", "toolUse",
            "tool_calls", "tool_plan", "transcript", "value",
        ),
        _WITHIN,
    ),
    **dict.fromkeys(("args", "arguments", "input"), _ARGUMENTS),
    **dict.fromkeys(("generated_text", "response"), _TEXT_ONLY),  # elsewhere they hold all that came before
}  # fmt: skip
# Kinds of event that repeat the text of earlier ones, and those with sound.
_REPEATING: Final = re.compile(
    r"\.(?:added|complete|completed|created|done|failed|in_progress|incomplete|queued|stop)$|audio\.delta$|^stream-end$"
)
_DEEPEST: Final = 12


def text_size(event: object) -> int:
    """UTF-8 bytes of generated text in one event of a stream, or in a whole response.

    Args:
        event: as for `generated_text`.
    """
    return size_of(generated_text(event))


def generated_text(event: object) -> str:
    """The generated text of one event of a stream, or of a whole response: content, reasoning, tool calls.

    In the order of the fields, with nothing between them. Arguments that are objects are written as JSON.

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
            return ""
    texts: list[str] = []
    _collect(event, 0, texts)
    return "".join(texts)


@lru_cache(maxsize=256)
def _repeats(kind: str) -> bool:
    return _REPEATING.search(kind) is not None


def _collect(found: Any, depth: int, texts: list[str]) -> None:
    kind = type(found)
    if kind is str:
        texts.append(found)
    elif depth > _DEEPEST:
        pass
    elif kind is list:
        for each in found:
            _collect(each, depth + 1, texts)
    else:
        fields = found if kind is dict else fields_of(found)
        for name, value in fields.items():
            if value is not None:
                where = _GENERATED.get(name)
                if where == _WITHIN:
                    _collect(value, depth + 1, texts)
                elif where is not None:
                    texts.append(_text_of_field(fields, name, value))


def _text_of_field(fields: Mapping[str, Any], name: str, value: Any) -> str:
    if not isinstance(value, str):
        is_json = value and _GENERATED[name] == _ARGUMENTS
        return json.dumps(value, ensure_ascii=False, default=str) if is_json else ""
    # The last event of a text generation server has its own token, and the whole text.
    return "" if name == "generated_text" and fields.get("token") is not None else value


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


def output_tokens(size: int, events: int) -> int:
    """The output tokens of a response, estimated from what arrived of it.

    Args:
        size: bytes of generated text, as `text_size` counts them.
        events: how many events brought text; each has at least one token.
    """
    return max(events, tokens_in(size), 0)
