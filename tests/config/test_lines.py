"""Where each key of a TOML file is."""

from __future__ import annotations

import tomllib

import pytest

from otel_harn_steps.config._lines import key_lines

SAMPLES = {
    "tables": ("[a]\nx = 1\n[a.b]\ny = 2\n[[c]]\nz = 3\n[c.d]\nw = 4\n[[c]]\nz = 5\n", {
        ("a",): 1, ("a", "x"): 2, ("a", "b"): 3, ("a", "b", "y"): 4, ("c", 0): 5, ("c", 0, "z"): 6,
        ("c", 0, "d"): 7, ("c", 0, "d", "w"): 8, ("c", 1): 9, ("c", 1, "z"): 10,
    }),
    "nested arrays of tables": ("[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\ny = 1\n", {
        ("a", 0, "b", 1, "x"): 4, ("a", 1, "b", 0, "y"): 7,
    }),
    "dotted and quoted keys": ('a.b = 1\n"c.d"."e f" = 2\n\'g\'.h=3\n', {
        ("a", "b"): 1, ("c.d", "e f"): 2, ("g", "h"): 3,
    }),
    "text that looks like keys": ('a = """\nb = 1\n[c]\n"""\nd = \'\'\'\n# no\n\'\'\'\ne = "# [x]\\" y = 1" # f = 1\ng = 1\n', {
        ("a",): 1, ("d",): 5, ("e",): 8, ("g",): 9,
    }),
    "quotes at the end of text": ('a = """x""""\nb = \'\'\'y\'\'\'\'\'\nc = ""\nd = \'\'\n', {("b",): 2, ("c",): 3, ("d",): 4}),
    "values over lines": ("a = [ # one\n  1, # two\n\n  { b = 2 },\n]\nc = 3\n", {
        ("a",): 1, ("a", 0): 2, ("a", 1): 4, ("a", 1, "b"): 4, ("c",): 6,
    }),
    "dates and signs": ("a = 1979-05-27 07:32:00 # x\nb = 0x1F\nc = [1979-05-27, +inf]\nd = 1\n", {("d",): 4}),
    "windows": ("a = 1\r\n\r\nb = 2\r\n", {("a",): 1, ("b",): 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_keys_are_found_on_their_lines(name):
    text, expected = SAMPLES[name]

    found = key_lines(text)

    assert {path: found.get(path) for path in expected} == expected


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_no_key_is_missed_and_none_made_up(name):
    text, _ = SAMPLES[name]

    assert set(key_lines(text)) == set(_paths(tomllib.loads(text), ()))


def _paths(value, path):
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from _paths(each, (*path, key))
