"""`otel-harn-steps whatif`: what the ledger would cost, and what that does not say."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.cli._command import main
from tests.cli.stores import Written

PRICED = {"price_book": "genai-prices 0.2.3", "model": "gpt-5", "input_tokens": 10_000, "output_tokens": 1000}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_HARN_STEPS_RECORDS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    run = Written(tmp_path)
    run.call("plan", 1, 0.0225, **PRICED)
    run.call("answer", 2, 0.0225, **PRICED)
    run.call("plan", 3, cost_picousd=None)
    run.finish()
    return tmp_path


def test_another_model_by_step_with_what_must_be_known(capsys):
    assert main(["whatif", "--model", "gpt-5-nano", "--step", "plan"]) == 0
    assert (
        capsys.readouterr().out
        == """\
what if: model gpt-5-nano  $0.0450 to $0.0234, -$0.0216
  step    calls   before    after    change
  plan        1  $0.0225  $0.0009  -$0.0216
  answer      1  $0.0225  $0.0225        $0
  all         2  $0.0450  $0.0234  -$0.0216
  the change is for 1 call of 2
  the same answers are assumed: another model may write, think, and call tools
    more or less
  1 call without a price so far would cost <$0.0001, in no number here
  prices: genai-prices 0.2.3
"""
    )


def test_another_vendors_model_is_a_range(capsys):
    assert main(["whatif", "--model", "anthropic:claude-haiku-4-5", "--from-model", "gpt-*"]) == 0
    said = capsys.readouterr().out
    assert "  all         2  $0.0450  $0.0300  $0.0210 to $0.0420  -$0.0150" in said
    assert main(["whatif", "--model", "claude-haiku-4-5", "--tokens", "1..2", "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert (total["low_usd"], total["after_usd"], total["high_usd"]) == (0.03, 0.03, 0.06)


def test_calls_without_such_a_price_are_left_out_on_both_sides(capsys):
    assert main(["whatif", "--model", "model-of-tomorrow"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "what if: model model-of-tomorrow"
    assert "? 2 calls for $0.0450 left out on both sides: no price is known for model-of-tomorrow" in " ".join(
        said.split()
    )


def test_tiers_and_the_cached_share(capsys):
    assert main(["whatif", "--tier", "batch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["after_usd"] == 0.0225
    assert main(["whatif", "--cache", "100%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["after_usd"] == 2 * (0.00125 + 0.01)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("harn-steps.toml", '[prices]\n"gpt-5" = { input_mtok = 1, output_mtok = 0 }\n'),
        ("prices.json", '{"gpt-5": {"input_mtok": 1, "output_mtok": 0}}'),
    ],
)
def test_prices_of_your_own_come_from_a_file(store, capsys, name, text):
    (store / name).write_text(text)
    assert main(["whatif", "--prices", str(store / name), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["total"]["after_usd"], found["newly_priced_usd"], found["books"]) == (0.02, 0.0001, ["prices"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is changed: give --model, --tier, --prices or --cache"),
        (["--cache", "120%"], "--cache must be none, or a share of the input such as 80%, not '120%'"),
        (["--model", "x", "--tokens", "2..1"], "--tokens must be two numbers"),
        (["--prices", "none.json"], "No such file"),
        (["--tier", "batch", "--since", "never"], "--since must be"),
    ],
)
def test_a_wrong_value_is_a_usage_error(capsys, arguments, said):
    assert main(["whatif", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("harn-steps.toml", '[prices]\n"gpt-5" = { input = 1 }\n', "harn-steps.toml:2: prices"),
        ("harn-steps.toml", "", "there are no prices in it"),
        ("prices.json", "[]", "prices.json: must be an object of rates by model"),
        ("prices.json", '{"gpt-5": {"input_mtok": -1}}', "must be finite and not negative"),
        ("prices.json", "{", "prices.json: "),
    ],
)
def test_a_mistake_in_a_file_of_prices_is_named(store, capsys, name, text, said):
    (store / name).write_text(text)
    assert main(["whatif", "--prices", str(store / name)]) == 2
    assert said in capsys.readouterr().err


def test_everything_that_must_be_known_is_said(store, capsys):
    run = Written(store, run_id="b" * 16)
    run.call("plan", 4, 0.5, **PRICED | {"input_tokens": 500_000, "reasoning_tokens": 400, "price_book": "provider"})
    run.call("embed", 5, 0.1, model="text-embedding-3-small", operation="embeddings")
    run.call("plan", 6, cost_picousd=None, input_tokens=None, output_tokens=None, estimated_cost_picousd=10**10)
    assert main(["whatif", "--model", "claude-haiku-4-5"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "13 % of the output tokens were thoughts" in said
    assert "left as it was, because the model is of another kind: 1 call" in said
    assert "1 call with more input than the other model takes" in said
    assert "? without a price before and after, and in no number here: 1 call" in said
    assert "~ $0.0100 of estimates stays as it is, and is in no number here" in said
    assert main(["whatif", "--cache", "50%"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("what if: 50 % of the input from a cache")
    assert "1 call at no list price: changed as the list price changes" in said


def test_no_call_that_would_change_is_said(capsys):
    assert main(["whatif", "--tier", "batch", "--step", "other"]) == 0
    assert "there is no call that this would change" in capsys.readouterr().out
