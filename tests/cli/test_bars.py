"""Numbers as marks."""

from __future__ import annotations

import pytest

from otel_harn_steps.cli._bars import bar, bar_style, sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ((), ""),
        ((5,), ""),
        ((0, 0, 0), ""),
        ((0, 1, 2, 4, 7), "▁▂▃▅█"),
        ((0, 1, 10**15), "▁▂█"),  # what is not nothing shows
        ((1, 1, 1), "███"),
    ],
)
def test_a_trend_is_a_line_of_small_bars(values, line):
    assert sparkline(values) == line


def test_neighbours_are_added_up_where_there_are_too_many_and_the_newest_group_is_whole():
    assert sparkline([8, 0, 4, 1, 1], most=3) == "█▅▃"
    assert len(sparkline(range(1, 400))) <= 31
    assert sparkline([1] * 62) == "█" * 31


def test_a_bar_is_full_only_where_all_is_spent():
    assert [bar(share) for share in (-1, 0, 0.19, 0.999, 1, 7.5)] == [
        "──────────",
        "──────────",
        "━─────────",
        "━━━━━━━━━─",
        "━━━━━━━━━━",
        "━━━━━━━━━━",
    ]
    assert [bar_style(share) for share in (0.5, 0.8, 1, 1.01)] == ["green", "yellow", "yellow", "red"]
