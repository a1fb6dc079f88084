"""What one call to a model used: tokens, fees, and the terms that change their price."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from otel_harn_steps._cost.values import value

Terms = tuple[tuple[str, str], ...]
"""What else decides the price of a call, as sorted pairs: `(("service_tier", "flex"),)`. Empty for the list price."""

LIST_PRICE: Final[Terms] = ()


@value
class Usage:
    """Tokens of one call. Cached tokens are part of `input_tokens`, reasoning tokens part of `output_tokens`.

    `None` is unknown, which is not zero. Audio and one-hour cache writes are parts of the counts that they belong to.
    """

    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    tool_input_tokens: int = 0
    web_searches: int = 0
    output_citation_tokens: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether both sides are known."""
        return self.input_tokens is not None and self.output_tokens is not None

    def __add__(self, other: Usage) -> Usage:
        """The usage of two requests together. A side that one of them does not know is what the other knows."""
        return Usage(
            _add_known(self.input_tokens, other.input_tokens),
            _add_known(self.output_tokens, other.output_tokens),
            *(getattr(self, name) + getattr(other, name) for name in PARTS),
        )


PARTS: Final = (
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "tool_input_tokens",
    "web_searches",
    "output_citation_tokens",
)
"""The counts that are parts of the input or of the output, or that have a price of their own."""


def _add_known(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


_DIGITS: Final = re.compile(r"\s*[+-]?\d{1,18}\s*")
# No call has as many, and more of them would not fit into the integers of a span's attributes.
_MOST_TOKENS: Final = 10**15


def token_count(value: object) -> int | None:
    """A count of tokens from whatever a provider sent: None if it is none, never negative.

    Takes integers, whole or broken floats (truncated), decimals, and strings of digits. What no call can have is none.
    """
    number: int | None = None
    if type(value) is int:
        number = value
    elif isinstance(value, str):
        number = int(value) if _DIGITS.fullmatch(value) else None
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and math.isfinite(value):
        number = int(value)
    if number is None or number > _MOST_TOKENS:
        return None
    return max(number, 0)
