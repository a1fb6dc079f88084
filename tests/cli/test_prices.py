"""`otel-harn-steps prices`: the rates of a model by the price book, under each tier, and near names for the unknown."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pydantic")

from otel_harn_steps.cli._command import main


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_rates_of_a_model_with_every_tier(capsys):
    assert main(["prices", "gpt-5", "--at", "2026-11-20"]) == 0
    assert (
        capsys.readouterr().out
        == """\
gpt-5 · openai · genai-prices 0.2.3 · 400k tokens of context · 2026-11-20
  US dollars                        list     flex  priority    fast    batch
  input, per million tokens        $1.25   $0.625     $2.50   $2.50   $0.625
  output, per million tokens      $10.00    $5.00    $20.00  $20.00    $5.00
  cache read, per million tokens  $0.125  $0.0625     $0.25   $0.25  $0.0625
  web searches, per thousand      $10.00   $10.00    $10.00  $10.00   $10.00
"""
    )


def test_rates_that_depend_on_the_size_of_the_request(capsys):
    assert main(["prices", "claude-haiku-5-5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split() for line in lines if "100,000" in line) == [
        "above",
        "100,000",
        "input",
        "tokens",
        "$0.50",
        "$0.25",
    ]


def test_json_has_exact_rates_as_text(capsys):
    assert main(["prices", "openai:gpt-5", "claude-haiku-5-5", "--json"]) == 0
    gpt, claude = json.loads(capsys.readouterr().out)
    assert (gpt["provider"], gpt["model"], gpt["price_book"], gpt["near"]) == (
        "openai",
        "gpt-5",
        "genai-prices 0.2.3",
        [],
    )
    assert (gpt["rates"]["list"]["input_mtok"], gpt["rates"]["batch"]["output_mtok"]) == ("1.25", "5")
    assert claude["rates"]["list"]["input_mtok"] == {"base": "0.1", "above": {"100000": "0.5"}}


def test_prices_have_dates(capsys):
    assert main(["prices", "o3", "--at", "2025-06-09", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rates"]["list"]["input_mtok"] == "10"


def test_an_unknown_model_has_near_names_and_exit_code_1(capsys):
    assert main(["prices", "gpt5-nano", "gpt-5"]) == 1
    assert capsys.readouterr().out.startswith("gpt5-nano: no price is known; near names: openai:gpt-5-nano,")
    assert main(["prices", "\x1b[31mzzzzzzzz"]) == 1
    assert capsys.readouterr().out == "\\x1b[31mzzzzzzzz: no price is known\n"
    assert main(["prices", "gpt5-nano", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rates"], found["provider"], found["near"][0]) == (None, None, "openai:gpt-5-nano")


def test_near_names_are_those_of_the_provider_where_one_is_named(capsys):
    assert main(["prices", "sonnet", "--provider", "anthropic", "--json"]) == 1
    near = json.loads(capsys.readouterr().out)[0]["near"]
    assert near
    assert {name.partition(":")[0] for name in near} == {"anthropic"}


def test_prices_of_your_own_come_first(tmp_path, capsys):
    file = tmp_path / "prices.json"
    file.write_text('{"gpt-5": {"input_mtok": 1}, "mine": {"input_mtok": "0.5", "output_mtok": 2}}')
    assert main(["prices", "gpt-5", "mine", "--prices", str(file), "--json"]) == 0
    gpt, mine = json.loads(capsys.readouterr().out)
    assert list(gpt["rates"])[:2] == ["yours", "list"]
    assert mine["rates"] == {"yours": {"input_mtok": "0.5", "output_mtok": "2"}}
    assert main(["prices", "mine", "--prices", str(file)]) == 0
    assert "  input, per million tokens   $0.50\n" in capsys.readouterr().out


def test_a_wrong_value_is_a_usage_error(tmp_path, capsys):
    assert main(["prices", "gpt-5", "--at", "soon"]) == 2
    assert main(["prices", "gpt-5", "--prices", str(tmp_path / "none.json")]) == 2
    assert "--at must be" in capsys.readouterr().err
