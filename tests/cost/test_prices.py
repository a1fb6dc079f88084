"""What calls cost: worked cases through the real readers, the traps of price books, and the book itself as an oracle."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_harn_steps import instrument, price, uninstrument
from otel_harn_steps._calls.client import ParsedResponse, Request
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._clients.bedrock import BEDROCK
from otel_harn_steps._clients.groq import GROQ
from otel_harn_steps._clients.openai import OPENAI
from otel_harn_steps._cost.price_book import cost_picousd, forget_prices
from otel_harn_steps._cost.usage import Usage
from tests.instrumented import Instrumented
from tests.replay.cases import CASES

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
MILLION = 1_000_000


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget_prices()
    yield
    forget_prices()


# -- worked cases ------------------------------------------------------------------------------------------------------

WORKED = json.loads((CASES / "pricing" / "cases.json").read_text())
PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "cohere": "cohere",
    "groq": "groq",
    "aws": "aws.bedrock",
    "x-ai": "x_ai",
    "deepseek": "deepseek",
}


def reader(provider: str) -> Any:
    if provider == "google":
        return pytest.importorskip("otel_harn_steps._clients.google_genai").GOOGLE_GENAI
    if provider == "mistral":
        return pytest.importorskip("otel_harn_steps._clients.mistralai").MISTRALAI
    if provider == "cohere":
        return pytest.importorskip("otel_harn_steps._clients.cohere").COHERE
    return {"anthropic": ANTHROPIC, "aws": BEDROCK, "groq": GROQ}.get(provider, OPENAI)


def read(case: dict[str, Any]) -> tuple[Request, ParsedResponse]:
    answer = dict(case["raw"])
    searches = case["out_of_band_usage"].get("web_searches", 0)
    if searches and case["provider"] == "openai":
        answer["output"] = [{"type": "web_search_call", "action": {"type": "search"}}] * searches
    if searches and case["provider"] == "google":
        queries = [f"query {number}" for number in range(searches)]
        answer["candidates"] = [{"groundingMetadata": {"webSearchQueries": queries}}]
    request = Request("chat", PROVIDERS[case["provider"]], case["request_model"])
    return request, reader(case["provider"]).parse(request, answer)


def cost_of(request: Request, reading: ParsedResponse, at: datetime) -> Decimal | None:
    model = reading.model or request.model
    costs = [
        cost_picousd(request.provider, part.model or model, part.usage, part.terms + request.terms, at.timestamp())
        for part in reading.parts
    ]
    return None if None in costs else Decimal(sum(cost for cost in costs if cost is not None)).scaleb(-12)


@pytest.mark.parametrize("case", WORKED, ids=lambda case: case["id"])
def test_a_worked_case_is_read_and_priced_exactly(case: dict[str, Any]) -> None:
    request, reading = read(case)
    (part,) = reading.parts
    expected = dict(case["normalised"])
    expected["reasoning_tokens"] = expected.pop("output_reasoning_tokens", 0)
    expected.pop("cache_write_5m_tokens", None)  # what is not kept for an hour
    expected.pop("input_text_tokens", None)  # what is neither audio nor image
    got = {name: getattr(part.usage, name) for name in expected}
    assert got == expected
    assert cost_of(request, reading, datetime.fromisoformat(case["timestamp"])) == Decimal(case["usd_expected"])


# -- the book as an oracle -----------------------------------------------------------------------------------------------

ORACLE_MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-6-sol"),
    ("openai", "gpt-audio"),
    ("openai", "o3"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("x-ai", "grok-4-0709"),
    ("groq", "openai/gpt-oss-120b"),
    ("perplexity", "sonar-pro"),
    ("perplexity", "sonar-deep-research"),
    ("aws", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("deepseek", "deepseek-v4-flash"),
)
counts = st.integers(0, 400_000)


@cache
def snapshot() -> Any:
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False)


def by_the_book(provider: str, model: str, usage: Usage, at: datetime) -> Decimal:
    import genai_prices

    _, info = snapshot().find_provider_model(model, None, provider, None)
    usage = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        cache_write_5m_tokens=usage.cache_write_tokens - usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        web_searches=usage.web_searches,
    )
    total: Decimal = info.get_prices(at, None).calc_price(usage)["total_price"]
    return total


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    fresh, read, short, long = draw(counts), draw(counts), draw(counts), draw(counts)
    plain, reasoning = draw(counts), draw(counts)
    return Usage(
        fresh + read + short + long,
        plain + reasoning,
        cache_read_tokens=read,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
        reasoning_tokens=reasoning,
        web_searches=draw(st.integers(0, 5)),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize(("provider", "model"), ORACLE_MODELS)
@given(usage=usages(), at=st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)))  # noqa: DTZ001 -- as it wants
def test_a_compiled_card_says_what_the_book_says(provider: str, model: str, usage: Usage, at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    cost = cost_picousd(provider, model, usage, (), at.timestamp())
    if cost is None:  # a part without a price: the book leaves it out, which is a guess
        assert usage.web_searches or by_the_book(provider, model, usage, at) is not None
        return
    assert abs(Decimal(cost).scaleb(-12) - by_the_book(provider, model, usage, at)) <= Decimal("1e-12")


# -- traps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-99"),
        ("anthropic", "claude-nope-9"),
        ("aws.bedrock", "us.anthropic.claude-foo-9"),
        ("azure.ai.openai", "my-prod-deployment"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::id"),
        ("openai", "ft:o4-mini-2025-04-16:acme::id"),
        ("groq", "groq/compound"),
        ("ollama", "glm-4.6:cloud"),
        ("ibm.watsonx.ai", "granite"),
    ],
)
def test_what_nobody_knows_has_no_price(provider: str, model: str) -> None:
    assert price(model, provider=provider, input_tokens=1000, output_tokens=1000) is None


@pytest.mark.parametrize(
    ("provider", "model", "as_much_as"),
    [
        ("openai", "gpt-5.4-mini-2027-01-01", "gpt-5.4-mini"),
        ("anthropic", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-haiku-4-5-20251211", "claude-haiku-4-5"),
        ("gcp.gemini", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
    ],
)
def test_a_name_with_more_to_it_is_the_model_in_it(provider: str, model: str, as_much_as: str) -> None:
    tokens = {"input_tokens": 1000, "output_tokens": 100}
    expected = price(as_much_as, provider=provider, **tokens)
    assert expected
    assert price(model, provider=provider, **tokens) == expected


@pytest.mark.parametrize(
    ("convention", "model"),
    [
        ("aws.bedrock", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("azure.ai.inference", "gpt-4o"),
        ("azure.ai.openai", "gpt-4o"),
        ("gcp.gemini", "gemini-2.5-flash"),
        ("gcp.gen_ai", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "gemini-2.5-flash"),
        ("mistral_ai", "mistral-small-latest"),
        ("moonshot_ai", "kimi-k2"),
        ("x_ai", "grok-4-0709"),
    ],
)
def test_providers_are_known_by_their_names_in_the_conventions(convention: str, model: str) -> None:
    assert price(model, provider=convention, input_tokens=1000)


def test_tokens_are_counted_where_the_price_is_unknown(instrumented: Instrumented) -> None:
    with instrumented() as steps:
        with steps.step("s", max_usd=1):
            steps.record_llm_usage(model="gpt-99", provider="openai", input_tokens=7, output_tokens=3)
        (record,) = steps.drain_completed_steps()
    assert (record.input_tokens, record.output_tokens, record.unpriced_calls) == (7, 3, 1)


def test_an_unknown_model_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from otel_harn_steps._cost import list_prices

    price("gpt-99", provider="openai", input_tokens=1)
    monkeypatch.setattr(list_prices, "_book", lambda: pytest.fail("looked up again"))
    assert price("gpt-99", provider="openai", input_tokens=1) is None


@pytest.mark.parametrize(("tokens", "usd"), [(200_000, "0.265"), (200_001, "0.5225025")])
def test_a_long_context_begins_above_the_tiers_start(tokens: int, usd: str) -> None:
    assert price("gemini-2.5-pro", provider="gcp.gemini", input_tokens=tokens, output_tokens=1500, at=NOON) == Decimal(
        usd
    )


def test_audio_beside_cached_text_is_priced() -> None:
    got = price(
        "gemini-2.5-flash",
        provider="gcp.gemini",
        input_tokens=1500,
        input_audio_tokens=1000,
        cache_read_tokens=500,
        output_tokens=1,
        at=NOON,
    )
    assert got == Decimal("0.0010175")


def test_audio_without_a_price_of_its_own_is_not_text() -> None:
    tokens = {"input_tokens": 300, "input_audio_tokens": 200, "output_tokens": 200, "output_audio_tokens": 150}
    assert price("gpt-4o-audio-preview", provider="openai", **tokens) is None
    assert price("gpt-4o-audio-preview", provider="openai", input_tokens=300, output_tokens=200)


def test_searches_without_a_price_make_the_call_unpriced() -> None:
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    assert price(model, provider="aws.bedrock", input_tokens=100, output_tokens=10, web_searches=1) is None


def test_cache_counts_above_the_input_do_not_break_pricing() -> None:
    assert price("claude-haiku-4-5", input_tokens=10, cache_read_tokens=1000) == Decimal("0.0001")


def test_searches_are_not_discounted_in_a_batch() -> None:
    tokens = {"input_tokens": MILLION, "web_searches": 1000, "at": NOON}
    assert price("claude-haiku-4-5", provider="anthropic", **tokens) == Decimal(11)
    assert price("claude-haiku-4-5", provider="anthropic", batch=True, **tokens) == Decimal("10.5")


@pytest.mark.parametrize(
    ("tier", "usd"),
    [("default", "1.25"), ("auto", "1.25"), ("flex", "0.625"), ("Flex", "0.625"), ("priority", "2.5"), ("scale", None)],
)
def test_a_tier_has_its_own_price_or_none(tier: str, usd: str | None) -> None:
    got = price("gpt-5-2025-08-07", provider="openai", input_tokens=MILLION, service_tier=tier, at=NOON)
    assert got == (None if usd is None else Decimal(usd))


def test_a_tier_before_its_prices_are_known_is_not_the_list_price() -> None:
    before = datetime(2026, 10, 11, tzinfo=UTC)
    assert price("gpt-5", provider="openai", input_tokens=MILLION, service_tier="flex", at=before) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("azure.ai.openai", "gpt-5"),
        ("aws.bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("gcp.gemini", "gemini-2.5-flash"),
    ],
)
def test_a_tier_that_the_book_does_not_have_for_a_provider_is_unknown(provider: str, model: str) -> None:
    assert price(model, provider=provider, input_tokens=MILLION, at=NOON)
    assert price(model, provider=provider, input_tokens=MILLION, service_tier="flex", at=NOON) is None


@pytest.mark.parametrize(
    ("at", "usd"), [(datetime(2025, 6, 9, tzinfo=UTC), "50"), (datetime(2026, 6, 1, tzinfo=UTC), "10")]
)
def test_a_call_costs_what_it_cost_then(at: datetime, usd: str) -> None:
    assert price("o3-2025-04-16", provider="openai", input_tokens=MILLION, output_tokens=MILLION, at=at) == Decimal(usd)


def test_a_price_that_was_not_known_on_an_earlier_day_is_known_on_a_later_one() -> None:
    tier = {"provider": "openai", "input_tokens": MILLION, "service_tier": "priority"}
    days = [datetime(2026, month, 1, 12, tzinfo=UTC) for month in (9, 11, 9)]

    assert [price("gpt-5.1", **tier, at=day) for day in days] == [None, Decimal("2.5"), None]


@pytest.mark.parametrize(("day", "usd"), [(date(2026, 10, 25), "0.00554"), (date(2026, 11, 15), "0.0028")])
def test_a_price_changes_with_its_date(day: date, usd: str) -> None:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    assert price("mistral-large-4", provider="mistral_ai", input_tokens=1000, output_tokens=1000, at=at) == Decimal(usd)


@pytest.mark.parametrize(("hour", "usd"), [(0, "0.15"), (2, "0.3"), (5, "0.15")])
def test_a_price_changes_with_the_hour(hour: int, usd: str) -> None:
    at = datetime(2026, 11, 16, hour, tzinfo=UTC)
    assert price("deepseek-v4-flash", provider="deepseek", input_tokens=MILLION, at=at) == Decimal(usd)


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("gpt-5.4", "1.1"),
        ("gpt-5.4-2026-03-05", "1.1"),
        ("gpt-5.4-mini-2026-03-17", "1.1"),
        ("gpt-6-sol", "1.1"),
        ("gpt-5.3-2026-02-01", None),
        ("gpt-5", "1"),
        ("gpt-4o", "1"),
        ("gpt-5-2025-08-07", "1"),
        ("o3", "1"),
    ],
)
def test_openais_regional_addresses_cost_more_for_newer_models(model: str, factor: str | None) -> None:
    tokens: dict[str, Any] = {"provider": "openai", "input_tokens": 1000, "output_tokens": 1000, "at": NOON}
    listed = price(model, **tokens)
    if factor is None:
        assert price(model, regional=True, **tokens) == listed
        return
    assert listed is not None
    assert price(model, regional=True, **tokens) == listed * Decimal(factor)


def test_anthropics_data_residency_costs_a_tenth_more() -> None:
    tokens: dict[str, Any] = {"provider": "anthropic", "input_tokens": 1000, "output_tokens": 1000, "at": NOON}
    assert price("claude-sonnet-5", regional=True, **tokens) == Decimal("0.0132")


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "18"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "19.8"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "19.8"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "19.8"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "21.6"),
        ("us.amazon.nova-lite-v1:0", "0.3"),
        ("eu.amazon.nova-lite-v1:0", "0.39"),
        ("apac.amazon.nova-lite-v1:0", "0.315"),
        ("jp.amazon.nova-2-lite-v1:0", "3.707"),
        ("us-gov.openai.gpt-oss-20b-1:0", "0.444"),
    ],
)
def test_bedrocks_regions_have_their_own_prices(model: str, usd: str) -> None:
    got = price(model, provider="aws.bedrock", input_tokens=MILLION, output_tokens=MILLION, at=NOON)
    assert got == Decimal(usd)


def test_openrouters_name_is_priced_where_it_reports_nothing() -> None:
    tokens = {"input_tokens": 1000, "cache_read_tokens": 500, "output_tokens": 100}
    assert price("anthropic/claude-sonnet-4.5", provider="openrouter", **tokens) == Decimal("0.00315")


# -- what a provider says that it charges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "usage", "usd"),
    [
        ("openrouter", {"cost": 0.0012}, "0.0012"),
        ("openrouter", {"cost": 0}, "0"),
        ("openrouter", {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, "0.21"),
        ("openrouter", {"cost": 0.01, "is_byok": True}, "None"),
        ("perplexity", {"cost": {"total_cost": 0.57}}, "0.57"),
        ("x_ai", {"cost_in_usd_ticks": 318_319_000}, "0.0318319"),
        ("openai", {"cost": 0.0012}, "None"),
    ],
)
def test_a_reported_cost_is_read_where_it_is_one(provider: str, usage: dict[str, Any], usd: str) -> None:
    answer = {"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, **usage}}
    reported = OPENAI.parse(Request("chat", provider, "m"), answer).reported_usd
    assert str(reported) == usd


# -- the user's own ----------------------------------------------------------------------------------------------------------


def test_a_deployment_is_priced_as_the_model_behind_it() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
    try:
        instrument(models={"my-prod-deployment": "gpt-4o", arn: "us.amazon.nova-lite-v1:0", "openai:x": "gpt-5"})
        assert price("my-prod-deployment", provider="azure.ai.openai", input_tokens=MILLION) == Decimal("2.5")
        assert price(arn, provider="aws.bedrock", input_tokens=MILLION) == Decimal("0.06")
        assert price("x", provider="openai", input_tokens=MILLION) == Decimal("1.25")
        assert price("x", provider="azure.ai.openai", input_tokens=MILLION) is None
    finally:
        uninstrument()


def test_the_users_price_of_the_model_behind_a_deployment_holds_for_it() -> None:
    try:
        instrument(models={"mine": "gpt-4o"}, prices={"gpt-4o": {"input_mtok": 1, "output_mtok": 2}})
        assert price("mine", input_tokens=MILLION) == Decimal(1)
    finally:
        uninstrument()


@pytest.mark.parametrize("models", [["gpt-4o"], {"a": 1}, {"a": ""}, {1: "a"}])
def test_a_wrong_map_of_models_is_refused(models: Any) -> None:
    with pytest.raises(TypeError, match="models must"):
        instrument(models=models)


def test_a_price_is_exact_and_readable() -> None:
    assert str(price("gpt-4o-mini", provider="openai", input_tokens=1000, output_tokens=500)) == "0.00045"
    assert str(price("gpt-4o", provider="openai", input_tokens=4 * MILLION)) == "10"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"input_tokens": -1}, ValueError),
        ({"input_tokens": 1.5}, TypeError),
        ({"output_tokens": True}, TypeError),
        ({"at": datetime(2026, 1, 1)}, TypeError),  # noqa: DTZ001 -- the point
    ],
)
def test_a_wrong_question_is_refused(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        price("gpt-4o", **given)


def test_an_unknown_price_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        for _ in range(3):
            price("gpt-99", provider="openai", input_tokens=1)
    assert len(caplog.records) == 1
