"""What a response is billed as, seen in the call's row: through the real clients, whatever a server reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from otel_harn_steps import CallRow, StepBudgetExceeded, price, record_llm_usage, step
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import Answer
from tests.instrumented import instrumented
from tests.steps.sinks import Ledger

HELLO: Any = [{"role": "user", "content": "hello"}]
Ask = Callable[..., Any]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    with instrumented(sinks=[ledger]):
        yield ledger


def the_row(ledger: Ledger) -> CallRow:
    (row,) = ledger.of("settled")
    assert isinstance(row, CallRow)
    return row


@pytest.fixture
def chat(replay: ReplayServer) -> Iterator[Ask]:
    """Makes a chat completion that is answered with `usage`, at a host of a provider."""
    options: dict[str, Any] = {"proxy": replay.address, "trust_env": False, "verify": False}
    with openai.DefaultHttpxClient(**options) as http:

        def ask(usage: Any, model: str | None = "gpt-4o-mini", host: str = "api.openai.com", **more: Any) -> Any:
            message = {"role": "assistant", "content": "hi"}
            choices = [{"index": 0, "finish_reason": "stop", "message": message}]
            body = {"id": "1", "object": "chat.completion", "created": 1, "choices": choices, "usage": usage, **more}
            exchange = replay.serve(answer(body if model is None else {**body, "model": model}))
            client = openai.OpenAI(api_key="test", base_url=exchange.url_at(host) + "/v1", http_client=http)
            return client.chat.completions.create(model="asked-for", messages=HELLO)

        yield ask


@pytest.fixture
def message(replay: ReplayServer) -> Iterator[Ask]:
    """Asks for a message of Anthropic's that is answered with `usage`."""
    options: dict[str, Any] = {"proxy": replay.address, "trust_env": False, "verify": False}
    with anthropic.DefaultHttpxClient(**options) as http:

        def ask(usage: Any, model: str) -> Any:
            body = {"id": "1", "type": "message", "role": "assistant", "model": model, "usage": usage}
            body = {**body, "content": [], "stop_reason": "end_turn", "stop_sequence": None}
            exchange = replay.serve(answer(body))
            client = anthropic.Anthropic(
                api_key="test", base_url=exchange.url_at("api.anthropic.com"), http_client=http
            )
            return client.messages.create(model=model, messages=HELLO, max_tokens=9)

        yield ask


def answer(body: Any) -> Answer:
    return Answer(200, (json.dumps(body).encode(),), headers={"content-type": "application/json"})


WHOLE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}


def picousd(usd: Decimal | None) -> int:
    assert usd is not None
    return int(usd * 10**12)


def test_a_measured_call_has_its_tokens_its_price_and_no_estimate(chat: Ask, ledger: Ledger) -> None:
    with step("s", max_usd=1, max_tokens=10**6):
        chat(WHOLE)
    row = the_row(ledger)
    assert (row.provider, row.requested_model, row.model, row.certainty) == (
        "openai",
        "asked-for",
        "gpt-4o-mini",
        "measured",
    )
    listed = price("gpt-4o-mini", provider="openai", input_tokens=1000, output_tokens=200)
    assert (row.input_tokens, row.output_tokens, row.cost_picousd) == (1000, 200, picousd(listed))
    assert (row.estimated_tokens, row.estimated_cost_picousd, row.terms, row.details) == (0, 0, {}, {})
    assert (row.price_book or "").startswith("genai-prices ")


@pytest.mark.parametrize(("answered", "billed"), [("gpt-4o-mini", "gpt-4o-mini"), (None, "asked-for")])
@pytest.mark.parametrize("usage", [None, WHOLE])
def test_the_model_is_the_one_that_answered_else_the_one_that_was_asked_for(
    usage: Any, answered: str | None, billed: str, chat: Ask, ledger: Ledger
) -> None:
    with step("s"):
        chat(usage, answered)
    assert the_row(ledger).model == billed


def test_a_response_without_usage_is_unknown_and_costs_nothing_that_is_known(chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat(None)
    row = the_row(ledger)
    assert (row.certainty, row.input_tokens, row.output_tokens, row.cost_picousd) == ("unknown", None, None, None)


def test_a_response_without_usage_that_is_refused_is_kept(chat: Ask) -> None:
    with instrumented(unmetered="refuse"), pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=10):
        chat(None)
    assert caught.value.response.id == "1"


def test_half_a_usage_is_priced_as_far_as_it_goes_and_unknown(chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat({"prompt_tokens": 1000})
    row = the_row(ledger)
    assert (row.certainty, row.input_tokens, row.output_tokens) == ("unknown", 1000, None)
    assert row.cost_picousd == picousd(price("gpt-4o-mini", provider="openai", input_tokens=1000))


@pytest.mark.parametrize(
    ("usage", "certainty"), [(WHOLE, "reported"), ({"prompt_tokens": 1000}, "unknown")], ids=["whole", "half"]
)
def test_a_cost_that_the_provider_reports_is_its_own(usage: Any, certainty: str, chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat({**usage, "cost": 0.0123}, "openai/gpt-4o-mini", "openrouter.ai")
    row = the_row(ledger)
    assert (row.provider, row.cost_picousd, row.price_book, row.certainty) == (
        "openrouter",
        12_300_000_000,
        "provider",
        certainty,
    )


@pytest.mark.parametrize("cost", [-1, 1e301])
def test_a_reported_cost_that_is_no_amount_is_priced_by_the_book(cost: float, chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat({**WHOLE, "cost": cost}, "openai/gpt-4o-mini", "openrouter.ai")
    row = the_row(ledger)
    assert (row.certainty, (row.price_book or "").split()[0]) == ("measured", "genai-prices")
    listed = price("openai/gpt-4o-mini", provider="openrouter", input_tokens=1000, output_tokens=200)
    assert row.cost_picousd == picousd(listed)


def test_what_else_decided_the_price_is_in_the_row(chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat(WHOLE, "gpt-5.4", "eu.api.openai.com", service_tier="flex")
    row = the_row(ledger)
    assert row.terms == {"service_tier": "flex", "processing_region": "regional"}
    counts: Any = {"provider": "openai", "input_tokens": 1000, "output_tokens": 200, "service_tier": "flex"}
    regional, listed = price("gpt-5.4", regional=True, **counts), price("gpt-5.4", **counts)
    assert row.cost_picousd == picousd(regional) != picousd(listed)


def test_a_local_model_is_free_and_not_unpriced(chat: Ask, ledger: Ledger) -> None:
    with step("s") as active:
        chat(WHOLE, "qwen3:8b", "localhost")
    assert (the_row(ledger).cost_picousd, active.unpriced_calls) == (0, 0)


def test_the_models_of_one_call_are_added_up(message: Ask, ledger: Ledger) -> None:
    advised = {"type": "advisor_message", "model": "claude-opus-4-5", "input_tokens": 70, "output_tokens": 30}
    with step("s"):
        message({"input_tokens": 100, "output_tokens": 20, "iterations": [advised, advised]}, "claude-sonnet-4-5")
    row = the_row(ledger)
    assert (row.model, row.input_tokens, row.output_tokens) == ("claude-sonnet-4-5", 240, 80)
    own = price("claude-sonnet-4-5", provider="anthropic", input_tokens=100, output_tokens=20)
    other = price("claude-opus-4-5", provider="anthropic", input_tokens=70, output_tokens=30)
    assert row.cost_picousd == picousd(own) + 2 * picousd(other)


def test_a_call_of_several_models_has_no_price_where_one_of_them_has_none(message: Ask, ledger: Ledger) -> None:
    advised = {"type": "advisor_message", "model": "claude-unheard-of", "input_tokens": 70, "output_tokens": 30}
    with step("s") as active:
        message({"input_tokens": 100, "output_tokens": 20, "iterations": [advised]}, "claude-sonnet-4-5")
    row = the_row(ledger)
    assert (row.cost_picousd, row.price_book, active.unpriced_calls) == (None, None, 1)


# -- rows ------------------------------------------------------------------------------------------------------------------


def test_every_count_is_in_the_row() -> None:
    ledger = Ledger()
    counts = {"cache_read_tokens": 40, "cache_write_tokens": 20, "cache_write_1h_tokens": 5, "reasoning_tokens": 7}
    with instrumented(sinks=[ledger]), step("s"):
        record_llm_usage("m", 100, 30, 0.25, provider="p", **counts)
    row = the_row(ledger)
    assert (row.operation, row.provider, row.requested_model, row.model) == ("chat", "p", "m", "m")
    assert (row.cache_read_tokens, row.cache_write_tokens, row.reasoning_tokens) == (40, 20, 7)
    assert row.details == {"cache_write_1h_tokens": 5}
    assert (row.cost_picousd, row.certainty, row.price_book) == (250_000_000_000, "measured", "given")


def test_a_row_says_when_it_was_sent_and_how_long_it_took(chat: Ask, ledger: Ledger) -> None:
    with step("s"):
        chat(WHOLE)
    (sent,), settled = ledger.of("sent"), the_row(ledger)
    assert (sent.duration_ns, sent.late, settled.late) == (None, False, False)
    assert settled.duration_ns is not None
    assert 0 <= settled.duration_ns < settled.sent_at == sent.sent_at


def test_the_row_of_a_call_that_was_not_billed_is_not_late(chat: Ask, ledger: Ledger) -> None:
    with pytest.raises(StepBudgetExceeded), step("s", max_tokens=1):
        with pytest.raises(StepBudgetExceeded):
            chat(WHOLE)
        with pytest.raises(StepBudgetExceeded):
            chat(WHOLE)
    assert [(row.outcome, row.late) for row in ledger.of("settled")] == [("answered", False), ("refused", False)]


def test_a_step_names_every_book_that_its_prices_are_from_once() -> None:
    def book_of(*calls: tuple[str, float | None]) -> str | None:
        with instrumented(prices={"mine": {"input_mtok": 1, "output_mtok": 1}}) as steps:
            with step("s"):
                for model, usd in calls:
                    record_llm_usage(model, 1, 1, usd)
            (record,) = steps.drain_completed_steps()
            assert isinstance(record.price_book, str | None)
            return record.price_book

    given, mine, listed, unpriced = ("m", 0.25), ("mine", None), ("gpt-4o-mini", None), ("nobody-knows-it", None)
    book = book_of(listed)
    assert book is not None
    assert book.startswith("genai-prices ")
    assert (book_of(), book_of(unpriced), book_of(given), book_of(given, given)) == (None, None, "given", "given")
    assert book_of(given, listed, given, unpriced, listed) == f"{book}, given"
    assert book_of(mine, given, listed, given, mine) == f"{book}, given, prices"
