"""The file of list prices that spares the import of the price book: the same rates, for every model, at any time."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from otel_harn_steps._cost import known_rates, list_prices
from otel_harn_steps._cost.list_prices import context_window, knows_model, list_card

ROOT = Path(__file__).parent.parent.parent
KNOWN = json.loads(known_rates.FILE.read_bytes())
MOMENTS = (0.0, time.time())


OF_THIS_BOOK = pytest.mark.skipif(
    known_rates.book_name() is None, reason="another version of the price book is installed: the file says nothing here"
)


@pytest.fixture
def forgotten():
    """What was looked up is forgotten, before and after."""

    def forget():
        for each in (
            known_rates._file, known_rates.known_model, list_prices._book_name, list_prices.knows_model,
            list_prices.context_window,
        ):  # fmt: skip
            each.cache_clear()

    forget()
    yield forget
    forget()


def by_the_book(monkeypatch, ask, *arguments):
    """The answer of the price book, without the file."""
    with monkeypatch.context() as without:
        without.setattr(list_prices, "known_model", lambda *_: None)
        return ask(*arguments)


def rates_of(card):
    return None if card is None else replace(card, valid_from=0.0, valid_until=0.0)


def test_the_file_is_made_of_the_book_that_is_tested():
    assert f"genai-prices=={KNOWN['version']}\n" in (ROOT / "constraints.txt").read_text()


@OF_THIS_BOOK
def test_the_file_is_current():
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "known_rates.py", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr


@OF_THIS_BOOK
@pytest.mark.parametrize("provider", sorted(KNOWN["models"]))
def test_every_name_has_the_rates_that_the_book_has_at_any_time(provider, monkeypatch):
    for name, (periods, _, _) in KNOWN["models"][provider].items():
        edges = [moment + around for moment, _ in periods if moment is not None for around in (-1, 0, 1)]
        for at in (*MOMENTS, *edges):
            card = list_card(provider, name, (), at)
            assert card is not None, name
            assert card.valid_from <= at < card.valid_until, name
            assert card.book == f"genai-prices {KNOWN['version']}"
            assert rates_of(card) == rates_of(by_the_book(monkeypatch, list_card, provider, name, (), at)), (name, at)


@OF_THIS_BOOK
@pytest.mark.parametrize("provider", sorted(KNOWN["models"]))
def test_a_later_snapshot_of_any_of_them_too(provider, monkeypatch):
    chosen = random.Random(provider)
    for name, (_, _, has_snapshots) in KNOWN["models"][provider].items():
        if not has_snapshots:
            continue
        year, month, day = chosen.randrange(2023, 2030), chosen.randrange(1, 13), chosen.randrange(1, 29)
        for snapshot in (f"{name}-{year}{month:02}{day:02}", f"{name}-{year}-{month:02}-{day:02}"):
            card = list_card(provider, snapshot, (), 1_790_000_000.0)
            book = by_the_book(monkeypatch, list_card, provider, snapshot, (), 1_790_000_000.0)
            assert rates_of(card) == rates_of(book), snapshot


@OF_THIS_BOOK
def test_context_windows_are_those_of_the_book(monkeypatch, forgotten):
    names = [(provider, name) for provider, models in KNOWN["models"].items() for name in models]
    from_file = [context_window(*each) for each in names]
    forgotten()

    assert [by_the_book(monkeypatch, context_window, *each) for each in names] == from_file
    assert all(knows_model(*each) for each in names)


@pytest.mark.parametrize("model", ["gpt-5", "GPT-5", "gpt-5-2025-08-07", "models/gpt-5", "gpt-5-2031-01-01"])
def test_terms_are_asked_of_the_book(model, monkeypatch):
    at = 1_793_000_000.0
    batch = list_card("openai", model, (("processing", "batch"),), at)

    assert rates_of(batch) == rates_of(
        by_the_book(monkeypatch, list_card, "openai", model, (("processing", "batch"),), at)
    )
    assert rates_of(batch) != rates_of(list_card("openai", model, (("service_tier", "default"),), at))


def test_another_version_of_the_book_has_its_own_prices(monkeypatch, forgotten):
    monkeypatch.setattr(known_rates, "version", lambda _: "0.2.99")

    assert known_rates.known_model("openai", "gpt-5") is None
    assert known_rates.book_name() is None
    assert list_card("openai", "gpt-5", (), time.time()) is not None


PRICES = """
import sys, time
from otel_harn_steps._cost.price_book import price_of
from otel_harn_steps._cost.usage import Usage
for provider, model in [("openai", "gpt-5-2025-08-07"), ("anthropic", "claude-sonnet-4-5-20250929")]:
    cost, book = price_of(provider, model, Usage(input_tokens=1000, output_tokens=100), (), time.time())
    print(cost is not None, book.startswith("genai-prices "))
print("genai_prices" in sys.modules)
"""


@OF_THIS_BOOK
def test_the_first_price_of_a_well_known_model_does_not_import_the_book():
    printed = subprocess.run([sys.executable, "-c", PRICES], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["True"] * 4 + ["False"]
