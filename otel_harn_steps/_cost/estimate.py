"""Tokens of a call whose usage nobody reported, estimated from the sizes of what was sent and of what arrived.

For budgets only: an estimate is never shown as a measurement. How far it may be off is measured over recorded traffic;
the tables are in `docs/prices.md`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

ATTACHMENT_TOKENS: Final = 1000
"""What an image, a recording or a file in a request is taken for: about what a picture of one megapixel costs."""

# Over the recorded traffic 3.5 is as near as 4 (the usual rule for English), and errs on the side of the budget.
_BYTES_PER_TOKEN: Final = 3.5
# What the protocols put around each message.
_TOKENS_PER_MESSAGE: Final = 5
# What Anthropic (its documentation says 290 to 530) and Bedrock say to a model about the use of tools.
_TOKENS_OF_TOOL_USE: Final = 300
# More values than this are not looked at: an estimate has to stay cheap for a body of any size.
_MOST_VALUES: Final = 50_000

_NOTHING: Final[Mapping[str, Any]] = {}


def output_tokens(size: int, events: int) -> int:
    """The output tokens of a response, estimated from what arrived of it.

    Args:
        size: bytes of generated text, as `text_size` counts them.
        events: how many events brought text; each has at least one token.
    """
    return max(events, _tokens_in(size), 0)


def _tokens_in(size: int) -> int:
    return -int(-size // _BYTES_PER_TOKEN)


def _size_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _fields_of(source: Any) -> Mapping[str, Any]:
    """The fields of a mapping, or of an object of a client. None of anything else."""
    if isinstance(source, Mapping):
        return source
    fields = getattr(source, "__dict__", None)
    if not isinstance(fields, dict) or isinstance(source, type):
        return _NOTHING
    extra = getattr(source, "__pydantic_extra__", None)
    return {**extra, **fields} if extra else fields


# -- requests ----------------------------------------------------------------------------------------------------------

# Settings, and names of things, which are no part of a prompt.
_NO_PROMPT: Final = frozenset(
    {
        "cache_control", "call_id", "container", "detail", "encrypted_content", "extra_body", "extra_headers",
        "extra_query", "file_id", "format", "headers", "id", "include", "media_type", "metadata", "method",
        "mimeType", "mime_type",
        "model", "modelId", "object", "previous_response_id", "prompt_cache_key", "role", "service_tier", "signature",
        "status", "thoughtSignature", "thought_signature", "toolUseId", "tool_call_id", "tool_use_id", "type", "url",
        "user",
    }
)  # fmt: skip
# What holds one message in each of its items.
_MESSAGES: Final = frozenset({"chat_history", "contents", "input", "inputs", "messages"})
# Where the names of fields are part of the prompt too: tools, schemas, the arguments of earlier calls.
_VERBATIM: Final = frozenset(
    {
        "args", "arguments", "functions", "json_schema", "output_config", "output_format", "parameters",
        "responseSchema", "response_format", "response_schema", "toolConfig", "tools",
    }
)  # fmt: skip
_WITH_TOOL_USE: Final = frozenset({"inputSchema", "input_schema"})
_ATTACHED: Final = frozenset(
    {
        "fileData", "file_data", "image_url", "images", "inlineData", "inline_data", "input_audio", "s3Location",
        "video_url",
    }
)  # fmt: skip
_ATTACHMENTS: Final = frozenset({"audio", "document", "file", "image", "input_file", "input_image", "video"})
_WRITTEN: Final = ("content", "text")
_ENCODED: Final = re.compile(r"data:[^,]{0,99};base64,|[A-Za-z0-9+/_-]{256}")


def request_tokens(body: object) -> int:
    """The input tokens of a request, estimated from its messages, instructions, tools and schemas.

    An image, a recording or a file counts as `ATTACHMENT_TOKENS`, whatever its size.

    Args:
        body: what is sent: JSON-like values, or objects of a client.
    """
    return _Request().tokens(body)


class _Request:
    """One walk over a request."""

    def __init__(self) -> None:
        self.size = self.messages = self.more = 0
        self.has_tool_use = False
        self.waiting: list[tuple[Any, bool]] = []

    def tokens(self, body: object) -> int:
        seen = 0
        self.take(body, False)
        while self.waiting and seen < _MOST_VALUES:
            seen += 1
            self.take_parts(*self.waiting.pop())
        within = _tokens_in(self.size) + self.more
        within += within * len(self.waiting) // max(seen, 1)  # what was not looked at is like the rest
        return within + max(self.messages, 1) * _TOKENS_PER_MESSAGE + self.has_tool_use * _TOKENS_OF_TOOL_USE

    def take(self, value: Any, is_verbatim: bool) -> None:
        if isinstance(value, str):
            if _ENCODED.match(value):
                self.more += ATTACHMENT_TOKENS
            else:
                self.size += _size_of(value)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self.more += ATTACHMENT_TOKENS
        elif value is not None and not isinstance(value, (int, float)):
            self.waiting.append((value, is_verbatim))

    def take_parts(self, value: Any, is_verbatim: bool) -> None:
        if isinstance(value, Mapping):
            self.take_fields(value, is_verbatim)
        elif isinstance(value, (list, tuple)):
            if value and isinstance(value[0], int):  # a prompt of token ids
                self.more += len(value)
            else:
                for each in value:
                    self.take(each, is_verbatim)
        elif callable(value):  # a function as a tool: its documentation describes it
            self.take(getattr(value, "__doc__", None), True)
        elif type(value).__module__.startswith("PIL."):
            self.more += ATTACHMENT_TOKENS
        else:
            self.take_fields(_fields_of(value), is_verbatim)

    def take_fields(self, fields: Mapping[str, Any], is_verbatim: bool) -> None:
        if is_verbatim:
            for name, value in fields.items():
                self.size += _size_of(str(name))
                self.has_tool_use |= name in _WITH_TOOL_USE
                self.take(value, True)
        elif _is_attachment(fields):
            self.more += ATTACHMENT_TOKENS
        else:
            for name, value in fields.items():
                self.take_field(name, value)

    def take_field(self, name: str, value: Any) -> None:
        if name == "body":
            self.take(_decoded(value), False)
        elif name in _ATTACHED:
            many = len(value) if isinstance(value, (list, tuple)) else value is not None
            self.more += ATTACHMENT_TOKENS * many
        elif name not in _NO_PROMPT:
            is_list = isinstance(value, (list, tuple))
            if is_list and name in _MESSAGES and value and not isinstance(value[0], (str, int)):
                self.messages += len(value)
            self.take(value, name in _VERBATIM or (name == "input" and not is_list))


def _is_attachment(fields: Mapping[str, Any]) -> bool:
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _ATTACHMENTS:
        return False
    return _fields_of(fields.get("source")).get("type") not in _WRITTEN  # a document may be plain text


# -- responses ---------------------------------------------------------------------------------------------------------

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
    """UTF-8 bytes of generated text in one event of a stream, or in a whole response: content, reasoning, tool calls.

    Args:
        event: of any client: its own object, or decoded JSON.
    """
    payload = getattr(event, "payload", None)
    if payload is not None:
        event = _payload_of(payload)
    fields = _fields_of(event)
    for name in ("type", "event_type", "event"):
        kind = fields.get(name)
        if kind is not None and isinstance(kind, str) and _repeats(kind):
            return 0
    return _generated_in(event, 0)


@lru_cache(maxsize=256)
def _repeats(kind: str) -> bool:
    return _REPEATING.search(kind) is not None


def _generated_in(found: Any, depth: int) -> int:
    kind = type(found)
    if kind is str:
        return _size_of(found)
    if depth > _DEEPEST:
        return 0
    if kind is list:
        return sum([_generated_in(each, depth + 1) for each in found])
    fields = found if kind is dict else _fields_of(found)
    size = 0
    for name, value in fields.items():
        if value is not None:
            where = _GENERATED.get(name)
            if where == _WITHIN:
                size += _generated_in(value, depth + 1)
            elif where is not None:
                size += _size_of_field(fields, name, value)
    return size


def _size_of_field(fields: Mapping[str, Any], name: str, value: Any) -> int:
    if not isinstance(value, str):
        is_json = value and _GENERATED[name] == _ARGUMENTS
        return _size_of(json.dumps(value, ensure_ascii=False, default=str)) if is_json else 0
    # The last event of a text generation server has its own token, and the whole text.
    return 0 if name == "generated_text" and fields.get("token") is not None else _size_of(value)


def _decoded(body: object) -> object:
    """A body that is sent as JSON text, decoded."""
    if isinstance(body, (str, bytes, bytearray)):
        try:
            return json.loads(body)
        except ValueError:
            return body
    return body


def _payload_of(payload: object) -> object:
    """What an event of AWS says: JSON, or JSON within it, which is what a model's own protocol says."""
    decoded = _decoded(payload)
    inner = decoded.get("bytes") if isinstance(decoded, dict) else None
    if not isinstance(inner, str):
        return decoded
    try:
        return _decoded(base64.b64decode(inner))
    except ValueError:
        return None
