"""How far another model may count the same text as other tokens."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from otel_harn_steps._cost.usage import PARTS, Usage
from otel_harn_steps._cost.vendors import vendor_of

Range = tuple[Fraction, Fraction]
"""The least and the most tokens of another model, through those that were counted."""

SAME: Final[Range] = (Fraction(1), Fraction(1))
OTHER: Final[Range] = (Fraction(7, 10), Fraction(7, 5))
"""What is assumed where the tokenizer is another: 30 % fewer to 40 % more. `docs/analysis.md` says why."""

# OpenAI's second tokenizer (o200k) came with gpt-4o, and its open models have it too.
_O200K: Final = re.compile(r"(?:gpt-(?:4o|4\.[15]|[5-9]|[1-9]\d|oss|audio|realtime)|chatgpt-4o|o[1-9])(?![a-z])")
_COUNTS: Final = ("input_tokens", "output_tokens", *PARTS)
_get_counts: Final = attrgetter(*_COUNTS)
_SEARCHES: Final = _COUNTS.index("web_searches")


@lru_cache(maxsize=1024)
def token_range(before: str | None, after: str) -> Range:
    """How many tokens `after` counts, at least and at most, where `before` has counted one."""
    families = _family(before), _family(after)
    return SAME if families[0] is not None and families[0] == families[1] else OTHER


def _family(model: str | None) -> str | None:
    """What the models of one tokenizer have in common. None: not known.

    Vendors change their tokenizers between generations and seldom say so: only one is known to be the same.
    """
    name = "" if model is None else model.rpartition("/")[2].lower()
    return "o200k" if _O200K.match(name) else name or None


def scaled(usage: Usage, factor: Fraction) -> Usage:
    """The usage with so many times the tokens, rounded down."""
    if factor == 1:
        return usage
    up, down = factor.numerator, factor.denominator
    counts: list[Any] = [None if count is None else count * up // down for count in _get_counts(usage)]
    counts[_SEARCHES] = usage.web_searches
    return Usage(*counts)


@lru_cache(maxsize=1024)
def same_vendor(before: str | None, after: str) -> bool:
    """Whether both models are of one vendor, so that one rule of caching holds for both."""
    if before is None:
        return False
    vendors = vendor_of(before), vendor_of(after)
    return vendors[0] is not None and vendors[1] is not None and vendors[0][0] == vendors[1][0]
