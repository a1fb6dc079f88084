"""Counts of tokens as providers send them."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from otel_harn_steps._cost.usage import PARTS, Usage, token_count


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (0, 0),
        (12, 12),
        (-5, 0),
        (12.9, 12),
        (Decimal("12.9"), 12),
        ("12", 12),
        (" +12 ", 12),
        ("-12", 0),
        (10**15, 10**15),
        (10**15 + 1, None),
        ("9" * 19, None),
        ("1.5", None),
        ("", None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_count_is_what_can_be_meant_else_unknown(sent: object, count: int | None) -> None:
    assert token_count(sent) == count


@pytest.mark.parametrize(
    ("one", "other", "both"), [(1, 2, 3), (None, 2, 2), (1, None, 1), (0, None, 0), (None, None, None)]
)
def test_two_requests_used_what_is_known_of_either(one: int | None, other: int | None, both: int | None) -> None:
    for first, second in ((Usage(one, 7), Usage(other, 8)), (Usage(7, one), Usage(8, other))):
        total = first + second
        assert {total.input_tokens, total.output_tokens} == {both, 15}
        assert total.is_complete is (both is not None)


def test_every_part_is_added_to_its_own() -> None:
    one = Usage(1, 1, **{name: place for place, name in enumerate(PARTS)})
    other = Usage(1, 1, **dict.fromkeys(PARTS, 100))
    assert one + other == Usage(2, 2, **{name: 100 + place for place, name in enumerate(PARTS)})
