"""What genai-prices does not know about the price of a place: where a request is processed changes what it costs.

Compared with the list prices that litellm 1.107 carries (MIT), in November 2026. Both say the same of everything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

_TENTH_MORE: Final = Fraction(11, 10)
_NO_MORE: Final = Fraction(1)

# OpenAI adds 10 % at its regional addresses for models released on or after 2026-03-05. That day brought gpt-5.4, so
# of the names without a date these are newer: gpt-5.4 and later numbers, and gpt-realtime-2.1.
_FIRST_WITH_UPLIFT: Final = "2026-03-05"
_DATE_AT_END: Final = re.compile(r"-(\d{4}-\d{2}-\d{2})$")
_NEWER: Final = re.compile(r"gpt-(?:5\.(?:[4-9]|\d\d)|[6-9]|\d\d|realtime-2\.1)(?![0-9])")

PREVIEW_SEARCH: Final = ("web_search", "preview")
"""OpenAI's first search tool. It is dearer with a model that does not reason, and what it finds is no input then."""
_REASONS: Final = re.compile(r"o\d|gpt-(?!3|4)")
_PREVIEW_SEARCH_RATES: Final = {"web_searches_kcount": Decimal(25)}
_SEARCH_RATES: Final = {"web_searches_kcount": Decimal(10)}

# Bedrock in GovCloud: 20 % above the list price. For Claude the book has the regional price there, which is 10 % above.
_GOV_FACTORS: Final = {
    "us-gov.anthropic.": Fraction(12, 11),
    "us-gov.nvidia.": Fraction(12, 10),
    "us-gov.openai.gpt-oss-": Fraction(12, 10),
}


def _rates(input_mtok: str, output_mtok: str, cache_read_mtok: str | None = None) -> dict[str, Decimal]:
    rates = {"input_mtok": Decimal(input_mtok), "output_mtok": Decimal(output_mtok)}
    return rates if cache_read_mtok is None else {**rates, "cache_read_mtok": Decimal(cache_read_mtok)}


REGIONAL_RATES: Final[Mapping[str, Mapping[str, Decimal]]] = {
    "apac.amazon.nova-lite-v1:0": _rates("0.063", "0.252", "0.01575"),
    "apac.amazon.nova-micro-v1:0": _rates("0.037", "0.148", "0.00925"),
    "apac.amazon.nova-pro-v1:0": _rates("0.84", "3.36", "0.21"),
    "eu.amazon.nova-2-lite-v1:0": _rates("0.429", "3.597", "0.10725"),
    "eu.amazon.nova-lite-v1:0": _rates("0.078", "0.312", "0.0195"),
    "eu.amazon.nova-micro-v1:0": _rates("0.046", "0.184", "0.0115"),
    "eu.amazon.nova-pro-v1:0": _rates("1.05", "4.2", "0.2625"),
    "eu.meta.llama3-2-1b-instruct-v1:0": _rates("0.13", "0.13"),
    "eu.meta.llama3-2-3b-instruct-v1:0": _rates("0.19", "0.19"),
    "jp.amazon.nova-2-lite-v1:0": _rates("0.396", "3.311", "0.099"),
}
"""Bedrock's list prices of regional ids whose difference is no plain factor: US dollars per million tokens."""


def factor_of_place(provider: str | None, model: str) -> Fraction:
    """What the name of a model says about the price of every token."""
    if provider != "aws":
        return _NO_MORE
    return next((factor for prefix, factor in _GOV_FACTORS.items() if model.startswith(prefix)), _NO_MORE)


def factor_of_term(term: tuple[str, str], model: str) -> Fraction | None:
    """What a term of a call says about the price of every token. None: nothing, the price book has to know it."""
    if term == ("inference_geo", "us"):  # Anthropic's data residency, from the models on that report it
        return _TENTH_MORE
    if term == ("processing_region", "regional"):
        return _TENTH_MORE if _has_openai_uplift(model) else _NO_MORE
    return None


def rates_of_term(term: tuple[str, str], model: str) -> Mapping[str, Decimal] | None:
    """The rates that a term of a call has in place of the book's. None: nothing, the price book has to know it."""
    if term == PREVIEW_SEARCH:
        return _SEARCH_RATES if _REASONS.match(model) else _PREVIEW_SEARCH_RATES
    return None


def _has_openai_uplift(model: str) -> bool:
    dated = _DATE_AT_END.search(model)
    return dated[1] >= _FIRST_WITH_UPLIFT if dated else _NEWER.match(model) is not None
