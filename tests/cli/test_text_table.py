"""The tables of every command: what fits, what goes, and names that are not what they seem."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps.cli._terminal import print_lines, wants_color
from otel_harn_steps.cli._text_table import Cell, Column, Line, beside, cut, isolated, label, spread, table, width_of

HEBREW = "תכנון"


def columns(*names, costs=("$0.0100", "$12.34")):
    names = names or ("plan", "search")
    return [
        Column(heading="step", cells=[Cell(name) for name in names], is_name=True, leaves=None),
        Column(heading="calls", cells=[Cell("1"), Cell("1,200")]),
        Column(heading="input", cells=[Cell("10"), Cell("3.4M")]),
        Column(heading="own", cells=[Cell(cost) for cost in costs], leaves=1),
        Column(heading="total", cells=[Cell(cost, "?" if n else "") for n, cost in enumerate(costs)], leaves=None),
    ]


def texts(*names, width=80):
    return [line.text for line in table(columns(*names), width)]


def test_names_stand_left_and_numbers_right_with_their_marks_behind_them():
    assert texts() == [
        "  step    calls  input      own    total",
        "  plan        1     10  $0.0100  $0.0100",
        "  search  1,200   3.4M   $12.34   $12.34?",
    ]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (41, ["step", "calls", "input", "own", "total"]),
        (40, ["step", "calls", "own", "total"]),
        (33, ["step", "own", "total"]),
        (26, ["step", "total"]),
        (5, ["step", "total"]),
    ],
)
def test_columns_go_from_the_right_and_dollars_last(width, headings):
    assert texts(width=width)[0].split() == headings


def test_a_long_name_is_cut_where_the_terminal_is_narrow_and_whole_where_it_is_wide():
    name = "a" * 50
    assert texts(name, "b", width=100)[1].split()[0] == name
    assert texts(name, "b", width=70)[1].startswith(f"  {'a' * 34}…  ")


@pytest.mark.parametrize("name", ["計画" * 3000, "x" * 10_000, "🎉" * 60, HEBREW * 50, "e\u0301" * 90])
def test_every_line_is_as_wide_as_the_terminal_and_no_wider(name):
    widths = {width_of(line) for line in texts(name, "plan", width=80)[1:]}
    assert max(widths) <= 80
    assert min(widths) >= 78  # a character of two columns may leave one, and a mark the other


def test_a_name_does_nothing_to_the_terminal():
    line = texts("a\x1b[31m\n\u202e\u2069", "b")[1]
    assert line.startswith(r"  a\x1b[31m\n\u202e\u2069  ")


def test_a_name_from_right_to_left_keeps_its_direction_to_itself():
    line = texts(HEBREW, "plan")[1]
    assert line.startswith(f"  \u2068{HEBREW}\u2069")
    assert isolated("plan é 計画") == "plan é 計画"


def test_a_tree_is_indented():
    column = Column(heading="step", cells=[Cell("plan"), Cell("search", depth=1)], is_name=True)
    assert [line.text for line in table([column], 80)] == ["  step", "  plan", "    search"]


def test_a_cut_text_ends_with_an_ellipsis_and_fits():
    assert (cut("計画する", 5), cut("plan", 4), label("p\tlan", 5)) == ("計画…", "plan", r"p\tl…")


def test_notes_stand_beside_their_lines_or_nowhere():
    lines = [Line.of("  a"), Line.of("  abc")]
    assert [line.text for line in beside(lines, ["over", ""], 12)] == ["  a     over", "  abc"]
    assert beside(lines, ["over", ""], 11) is None


def test_what_is_spread_reaches_the_right_edge():
    assert spread(Line.of("left"), "right", 12).text == "left   right"
    assert spread(Line.of("left"), "right", 3).text == "left  right"
    assert spread(Line.of("left"), "", 12).text == "left"


def test_colour_is_a_matter_of_the_terminal_and_of_who_asks(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert [wants_color(color, Terminal()) for color in ("auto", "always", "never")] == [True, True, False]
    assert [wants_color(color, io.StringIO()) for color in ("auto", "always", "never")] == [False, True, False]
    monkeypatch.setenv("NO_COLOR", "1")
    assert [wants_color(color, Terminal()) for color in ("auto", "always")] == [False, True]


def test_what_is_printed_in_colour_is_the_same_text():
    pytest.importorskip("rich")
    plain, coloured = io.StringIO(), io.StringIO()
    lines = [Line.of("head [bold] :smile:", "bold"), Line((("  a", "red"), ("  12", "")))]
    print_lines(lines, "never", plain)
    print_lines(lines, "always", coloured)
    assert plain.getvalue() == "head [bold] :smile:\n  a  12\n"
    assert "\x1b[1mhead [bold] :smile:\x1b[0m\n" in coloured.getvalue()


def test_a_terminal_of_few_characters_gets_what_it_can_show():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_lines([Line.of("a … 計")], "never", stream)
    stream.flush()
    assert raw.getvalue() == b"a ? ?\n"


@given(
    names=st.lists(st.text(max_size=60), min_size=1, max_size=5),
    numbers=st.lists(st.integers(0, 10**15), min_size=5, max_size=5),
    width=st.integers(30, 160),
)
def test_whatever_stands_in_a_table_its_lines_end_at_one_edge_within_the_terminal(names, numbers, width):
    columns = [
        Column(heading="name", cells=[Cell(name, depth=n) for n, name in enumerate(names)], is_name=True, leaves=None),
        *(
            Column(heading=f"number {n}", cells=[Cell(f"{number:,}", "?" * (row % 2)) for row, _ in enumerate(names)])
            for n, number in enumerate(numbers)
        ),
        Column(heading="total", cells=[Cell("$1.00") for _ in names], leaves=None),
    ]
    lines = [line.text for line in table(columns, width)]
    assert len(lines) == 1 + len(names)
    assert len({width_of(line) for line in lines}) == 1
    assert width_of(lines[0]) <= width
    assert all(line.endswith("$1.00") for line in lines[1:])
    assert all(each.isprintable() or each in "\u2068\u2069" for line in lines for each in line)
