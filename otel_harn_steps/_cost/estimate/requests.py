"""The input of a request, estimated from what is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from otel_harn_steps._cost.estimate.values import decoded, fields_of, size_of, tokens_in

ATTACHMENT_TOKENS: Final = 1000
"""What an image, a recording or a file in a request is taken for: about what a picture of one megapixel costs."""

# What the protocols put around each message.
_TOKENS_PER_MESSAGE: Final = 5
# What Anthropic (its documentation says 290 to 530) and Bedrock say to a model about the use of tools.
_TOKENS_OF_TOOL_USE: Final = 300
# More values than this are not looked at: an estimate has to stay cheap for a body of any size.
_MOST_VALUES: Final = 50_000

# Settings, and names of things, which are no part of a prompt.
_NO_PROMPT: Final = frozenset(
    {
        "cachePoint", "cache_control", "call_id", "container", "detail", "encrypted_content", "extra_body",
        "extra_headers", "extra_query", "file_id", "format", "headers", "id", "include", "media_type", "metadata",
        "method", "mimeType", "mime_type",
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
# Anthropic's and Bedrock's marks of what is to be written to a cache.
_CACHE_MARKS: Final = frozenset({"cachePoint", "cache_control"})
_CACHE_KINDS: Final = frozenset({"default", "ephemeral"})
_ATTACHED: Final = frozenset(
    {
        "fileData", "file_data", "image_url", "images", "inlineData", "inline_data", "input_audio", "s3Location",
        "video_url",
    }
)  # fmt: skip
_ATTACHMENTS: Final = frozenset({"audio", "document", "file", "image", "input_file", "input_image", "video"})
_WRITTEN: Final = ("content", "text")
_LONG: Final = 256
_ENCODED: Final = re.compile(rf"data:[^,]{{0,99}};base64,|[A-Za-z0-9+/_-]{{{_LONG}}}")
# Fields whose names say what they are. Of all others, a text is a part of the prompt.
_NAMED: Final = _NO_PROMPT | _ATTACHED | {"body"}


class RequestSize(NamedTuple):
    """The input of a request.

    Attributes:
        tokens: estimated from its messages, instructions, tools and schemas.
        writes_cache: a part of it is to be written to a prompt cache, which may cost more than plain input.
        writes_cache_1h: for an hour, which costs more again.
    """

    tokens: int
    writes_cache: bool
    writes_cache_1h: bool


def request_size(body: object) -> RequestSize:
    """The input of a request.

    An image, a recording or a file counts as `ATTACHMENT_TOKENS`, whatever its size. Of a body of more than 50,000
    values only so many are looked at.

    Args:
        body: what is sent: JSON-like values, or objects of a client.
    """
    walk = _Request()
    return RequestSize(walk.tokens(body), walk.writes_cache, walk.writes_cache_1h)


def request_tokens(body: object) -> int:
    """The input tokens of a request, as `request_size` has them."""
    return _Request().tokens(body)


class _Request:
    """One walk over a request."""

    def __init__(self) -> None:
        self.size = self.messages = self.more = 0
        self.has_tool_use = self.writes_cache = self.writes_cache_1h = False
        self.waiting: list[tuple[Any, bool]] = []

    def tokens(self, body: object) -> int:
        seen = 0
        self.take(body, False)
        while self.waiting and seen < _MOST_VALUES:
            seen += 1
            self.take_parts(*self.waiting.pop())
        within = tokens_in(self.size) + self.more
        within += within * len(self.waiting) // max(seen, 1)  # what was not looked at is like the rest
        return within + max(self.messages, 1) * _TOKENS_PER_MESSAGE + self.has_tool_use * _TOKENS_OF_TOOL_USE

    def take(self, value: Any, is_verbatim: bool) -> None:
        if isinstance(value, str):
            self.take_text(value)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self.more += ATTACHMENT_TOKENS
        elif value is not None and not isinstance(value, (int, float)):
            self.waiting.append((value, is_verbatim))

    def take_text(self, text: str) -> None:
        if (len(text) >= _LONG or text.startswith("data:")) and _ENCODED.match(text):
            self.more += ATTACHMENT_TOKENS
        else:
            self.size += len(text) if text.isascii() else size_of(text)

    def take_parts(self, value: Any, is_verbatim: bool) -> None:
        if isinstance(value, (dict, Mapping)):  # a dict is known at once
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
            self.take_fields(fields_of(value), is_verbatim)

    def take_fields(self, fields: Mapping[str, Any], is_verbatim: bool) -> None:
        if is_verbatim:
            for name, value in fields.items():
                if name in _CACHE_MARKS and self.take_cache_mark(value):
                    continue
                self.size += size_of(str(name))
                self.has_tool_use |= name in _WITH_TOOL_USE
                self.take(value, True)
        elif _is_attachment(fields):
            self.more += ATTACHMENT_TOKENS
            self.take_cache_mark(fields.get("cache_control"))
        else:
            for name, value in fields.items():
                if name not in _NAMED and isinstance(value, str):
                    self.take_text(value)
                else:
                    self.take_field(name, value)

    def take_field(self, name: str, value: Any) -> None:
        if name == "body":
            self.take(decoded(value), False)
        elif name in _ATTACHED:
            many = len(value) if isinstance(value, (list, tuple)) else value is not None
            self.more += ATTACHMENT_TOKENS * many
        elif name not in _NO_PROMPT:
            is_list = isinstance(value, (list, tuple))
            if is_list and name in _MESSAGES and value and not isinstance(value[0], (str, int)):
                self.messages += len(value)
            self.take(value, name in _VERBATIM or (name == "input" and not is_list))
        elif name in _CACHE_MARKS:
            self.take_cache_mark(value)

    def take_cache_mark(self, value: Any) -> bool:
        """Note what marks something for a cache, unless it is only called so: a schema's property may be."""
        mark = fields_of(value)
        kind = mark.get("type")
        if not isinstance(kind, str) or kind not in _CACHE_KINDS:
            return False
        self.writes_cache = True
        self.writes_cache_1h |= mark.get("ttl") == "1h"
        return True


def _is_attachment(fields: Mapping[str, Any]) -> bool:
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _ATTACHMENTS:
        return False
    return fields_of(fields.get("source")).get("type") not in _WRITTEN  # a document may be plain text
