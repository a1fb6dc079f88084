"""`otel-harn-steps diff`: two runs, days, labels or files, in the terminal, as JSON and as Markdown."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.cli._command import main
from tests.cli.stores import Written
from tests.store.rows import settled

OLD, NEW = "0000aaaa0000aaaa", "1111bbbb1111bbbb"
PRICED = {"price_book": "genai-prices 0.2.3", "model": "gpt-5"}


def a_call(run, path="plan", at=0.5, tokens=10_000, **fields):
    """At the list price of gpt-5, without output."""
    run.call(path, at, tokens * 1.25e-6, input_tokens=tokens, output_tokens=0, **(PRICED | fields))


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "records"
    monkeypatch.setenv("OTEL_HARN_STEPS_RECORDS", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    old = Written(folder, run_id=OLD, began_s=datetime.fromisoformat("2026-11-24T12:00").timestamp())
    a_call(old, labels={"revision": "abc"})
    a_call(old, "answer", labels={"revision": "abc"})
    old.finish()
    new = Written(folder, run_id=NEW, began_s=datetime.fromisoformat("2026-11-25T12:00").timestamp())
    for at in range(4):
        a_call(new, at=at, labels={"revision": "def"})
    a_call(new, "answer", labels={"revision": "def"})
    new.finish()
    return folder


SAID = """\
run 0000aaaa to run 1111bbbb  $0.0250 to $0.0625, +$0.0375 (+150 %)
  `plan` +$0.0375: 3 more calls

  step   before    after    change     calls
  plan  $0.0125  $0.0500  +$0.0375  +$0.0375
  all   $0.0250  $0.0625  +$0.0375  +$0.0375
  1 step without a change
"""


@pytest.mark.parametrize(("base", "head"), [(OLD, NEW), ("0000", "last"), ("last~1", "last")])
def test_two_runs_are_compared_in_sentences_and_a_table(store, capsys, base, head):
    assert main(["diff", base, head]) == 0
    assert capsys.readouterr().out == SAID


@pytest.mark.parametrize(("base", "head"), [("2026-11-24", "2026-11-25"), ("revision=abc", "revision=def")])
def test_two_days_or_two_labels_are_sides_too(store, capsys, base, head):
    assert main(["diff", base, head]) == 0
    title, *rest = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{base} to {head}  ")
    assert rest == SAID.splitlines()[1:]


def test_the_options_that_say_which_calls_hold_for_both_sides(store, capsys):
    assert main(["diff", OLD, NEW, "--step", "answer", "--json"]) == 0
    assert [row["key"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["answer"]


def test_json_has_every_part_and_why(store, capsys):
    assert main(["diff", OLD, NEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    plan = found["rows"][0]
    assert (plan["key"], plan["change_picousd"], plan["change_usd"], plan["reasons"]) == (
        "plan",
        37_500_000_000,
        0.0375,
        ["3 more calls"],
    )
    assert sum(plan["parts"].values()) == plan["change_picousd"]
    assert (found["change_share"], found["base_runs"], found["is_by_run"], found["notes"]) == (1.5, 1, False, [])


def test_markdown_is_for_a_pull_request(store, capsys):
    assert main(["diff", OLD, NEW, "--markdown"]) == 0
    assert (
        capsys.readouterr().out
        == """\
**Cost of LLM calls, run 0000aaaa to run 1111bbbb: $0.0250 to $0.0625, +$0.0375 (+150 %)**

- <code>plan</code> +$0.0375: 3 more calls

|  | calls made | before | after | change | calls |
| --- | ---: | ---: | ---: | ---: | ---: |
| <code>plan</code> | 1 to 4 | $0.0125 | $0.0500 | +$0.0375 | +$0.0375 |
| **all** | 2 to 5 | $0.0250 | $0.0625 | +$0.0375 | +$0.0375 |
"""
    )


@pytest.mark.parametrize(("allowed", "code"), [("149%", 1), ("150 %", 0), ("$0.03", 1), ("0.0375", 0)])
def test_growth_above_what_is_allowed_is_exit_code_1(store, capsys, allowed, code):
    assert main(["diff", OLD, NEW, "--fail-above", allowed]) == code
    assert ("the cost has grown by +$0.0375 (+150 %)" in capsys.readouterr().err) == bool(code)


def test_a_cheaper_head_fails_nothing(store, capsys):
    assert main(["diff", NEW, OLD, "--fail-above", "0%"]) == 0
    assert "-$0.0375 (-60 %)" in capsys.readouterr().out


def test_two_files_need_no_store(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OTEL_HARN_STEPS_RECORDS", str(tmp_path / "no such folder"))
    for name, count in (("base", 1), ("head", 3)):
        rows = [
            settled(n, cost_picousd=125 * 10**6, input_tokens=100, output_tokens=0, **PRICED).to_dict()
            for n in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["diff", str(tmp_path / "base.jsonl"), str(tmp_path / "head.jsonl")]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "base.jsonl to head.jsonl  $0.0001 to $0.0004, +$0.0003 (+200 %)",
        "  `plan` +$0.0003: 2 more calls",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "last"], "none"),
        (["last~9", "last"], "there are only 2 runs"),
        (["revision=xyz", "last"], "no call was billed there"),
        (["2026-01-01", "last"], "no call was billed there"),
        (
            ["last", "last", "--fail-above", "much"],
            "--fail-above must be a share such as 5%, or dollars such as $0.10, not 'much'",
        ),
    ],
)
def test_what_is_no_side_is_a_usage_error(store, capsys, arguments, said):
    assert main(["diff", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_prices_of_a_file_explain_what_they_priced(store, tmp_path, capsys):
    for name, tokens in (("base", 100), ("head", 300)):
        row = settled(1, price_book="prices", input_tokens=tokens, output_tokens=0, cost_picousd=tokens * 10**6)
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row.to_dict()) + "\n")
    (tmp_path / "prices.json").write_text('{"gpt-5": {"input_mtok": 1, "output_mtok": 1}}')
    sides = [str(tmp_path / f"{name}.jsonl") for name in ("base", "head")]
    assert main(["diff", *sides]) == 0
    assert "calls whose rates are not known" in capsys.readouterr().out
    assert main(["diff", *sides, "--prices", str(tmp_path / "prices.json")]) == 0
    assert "`plan` +$0.0002: input 3.0x longer" in capsys.readouterr().out


EVIL = "`|<b>\x1b[31m*x*_y_@z\n" + "n" * 10_000


def test_names_are_data_in_the_terminal_and_in_markdown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name, count in (("base", 1), ("head", 2)):
        rows = [settled(n, "x", step=EVIL, model=EVIL, requested_model=EVIL).to_dict() for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("base", "head")]
    assert main(["diff", *files]) == 0
    terminal = capsys.readouterr().out
    assert max(map(len, terminal.splitlines())) <= 80
    assert "\x1b" not in terminal
    assert main(["diff", *files, "--markdown"]) == 0
    markdown = capsys.readouterr().out
    assert [sign for sign in ("`", "<b>", "\x1b", "*x", "_y", "@z") if sign in markdown] == []
    assert len(markdown) < 5_000
