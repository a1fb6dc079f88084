"""Who bills for a model at a host: its provider, the vendor behind a gateway, or nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from otel_harn_steps import price
from otel_harn_steps._cost.hosts import is_local, provider_at
from otel_harn_steps._cost.price_book import dearest_picousd, forget_prices, price_of
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._cost.vendors import vendor_of
from tests.instrumented import Instrumented

MILLION = 1_000_000
USAGE = Usage(MILLION, MILLION)
AT = 1_795_000_000.0  # in November 2026
ELSEWHERE = "llm.corp.example"
BOOK = "genai-prices "


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget_prices()
    yield
    forget_prices()


def priced(provider: str, model: str, host: str | None = None) -> tuple[float | None, str | None]:
    cost, book = price_of(provider, model, USAGE, (), AT, host=host)
    return None if cost is None else cost / 1e12, book


def listed(model: str, vendor: str) -> float:
    found = price(model, provider=vendor, input_tokens=MILLION, output_tokens=MILLION)
    assert found
    return float(found)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.7", "litellm", ELSEWHERE])
@pytest.mark.parametrize(
    ("client", "model", "vendor", "known_as"),
    [
        ("openai", "gpt-4o", "openai", "gpt-4o"),
        ("openai", "openai/gpt-4o", "openai", "gpt-4o"),
        ("openai", "openrouter/openai/gpt-5.4", "openai", "gpt-5.4"),
        ("openai", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("openai", "anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
        ("openai", "gemini/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("openai", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "aws", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("openai", "xai/grok-4-0709", "x-ai", "grok-4-0709"),
        ("openai", "o3", "openai", "o3"),
        ("anthropic", "gpt-4o", "openai", "gpt-4o"),
        ("anthropic", "gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("ollama", "gpt-4o", "openai", "gpt-4o"),
        ("litellm", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
    ],
)
def test_a_vendors_model_at_an_unknown_host_costs_the_vendors_price(
    client: str, model: str, vendor: str, known_as: str, host: str
) -> None:
    cost, book = priced(client, model, host)
    assert cost == listed(known_as, vendor)
    assert book is not None
    assert book.startswith(BOOK)


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama", "hosted_vllm", "huggingface"])
@pytest.mark.parametrize(
    "model", ["llama3.1", "gpt-oss-20b", "openai/gpt-oss:20b", "gemma-3", "google/gemma-3-27b-it", "my-own"]
)
def test_any_other_model_at_a_local_host_is_free(client: str, model: str) -> None:
    assert priced(client, model, "127.0.0.1") == (0, "local")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("10.1.2.3", True),
        ("172.16.0.9", True),
        ("192.168.0.2", True),
        ("169.254.10.1", True),
        ("100.64.1.1", True),
        ("fe80::1", True),
        ("fd00::5", True),
        ("studio.local", True),
        ("vllm.default.svc.cluster.local", True),
        ("host.docker.internal", True),
        ("host.containers.internal", True),
        ("vllm", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("172.32.0.1", False),
        ("llm.corp.example", False),
        ("localhost.example.com", False),
    ],
)
def test_a_host_is_local_by_its_name_or_its_address(host: str, expected: bool) -> None:
    assert is_local(host) is expected


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.anthropic.com", "anthropic"),
        ("openrouter.ai", "openrouter"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("my-resource.openai.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("notopenrouter.ai", "the default"),
        ("openrouter.ai.example.com", "the default"),
    ],
)
def test_a_provider_is_known_by_the_end_of_its_hosts_name(host: str, provider: str) -> None:
    assert provider_at(host, "the default") == provider


@pytest.mark.parametrize(
    ("provider", "model", "host"),
    [
        ("openai", "gpt-4o", "api.openai.com"),
        ("groq", "llama-3.3-70b-versatile", "api.groq.com"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter.ai"),
        ("mistral_ai", "mistral-small-latest", "127.0.0.1"),  # the client of one provider, through a proxy
        ("groq", "llama-3.3-70b-versatile", "localhost"),
        ("azure.ai.openai", "gpt-4o", ELSEWHERE),  # Azure sells OpenAI's models at prices of its own
        ("gcp.vertex_ai", "claude-sonnet-4-5", "10.0.0.8"),
        ("openai", "gpt-oss-20b", ELSEWHERE),
    ],
)
def test_elsewhere_the_price_is_the_providers_own(provider: str, model: str, host: str) -> None:
    assert priced(provider, model, host) == priced(provider, model)
    assert priced(provider, model)[0]


@pytest.mark.parametrize(
    ("provider", "model", "host"),
    [
        ("ollama", "gpt-oss:120b-cloud", None),
        ("ollama", "glm-4.6:cloud", "127.0.0.1"),
        ("ollama", "gemini-3-flash-preview:cloud", "localhost"),
        ("openai", "gpt-oss:120b-cloud", "127.0.0.1"),
        ("ollama", "gpt-oss:120b", "ollama.com"),
        ("openai", "gpt-99", "127.0.0.1"),
        ("openai", "llama3.1", ELSEWHERE),
        ("mistral_ai", "my-finetune", "127.0.0.1"),
    ],
)
def test_what_may_cost_something_unknown_is_not_free(provider: str, model: str, host: str | None) -> None:
    assert priced(provider, model, host) == (None, None)


def test_ollamas_models_are_free_wherever_its_server_is() -> None:
    for host in (None, "127.0.0.1", "gpu.example.com"):
        assert priced("ollama", "llama3.2", host) == (0, "local")
    assert price("llama3.2", provider="ollama", input_tokens=MILLION) == 0


def test_the_users_prices_come_first(instrumented: Instrumented) -> None:
    rates = {"input_mtok": 1, "output_mtok": 2}
    with instrumented(prices={"llama3.1": rates, "gpt-4o": rates, "ollama:*": rates}):
        for provider, model in (("openai", "llama3.1"), ("openai", "gpt-4o"), ("ollama", "qwen3")):
            assert priced(provider, model, "127.0.0.1") == (3, "prices")


def test_a_name_of_your_own_at_a_gateway_is_the_model_that_you_say(instrumented: Instrumented) -> None:
    with instrumented(models={"fast": "claude-haiku-4-5"}):
        assert priced("openai", "fast", "127.0.0.1")[0] == listed("claude-haiku-4-5", "anthropic")


def test_assumed_rates_are_not_for_what_is_free(instrumented: Instrumented) -> None:
    with instrumented(unpriced={"input_mtok": 1, "output_mtok": 2}):
        assert priced("openai", "llama3.1", "127.0.0.1") == (0, "local")
        assert priced("openai", "llama3.1", ELSEWHERE) == (3, "unpriced")


@pytest.mark.parametrize(
    "model",
    ["gpt-oss-120b", "openai/gpt-oss-20b", "gpt-2", "gpt-j-6b", "gpt4all", "gemma-3", "llama3", "grok-1", "marco-o1",
     "deepseek-chat", "qwen3-max", "voyage-4-nano", "mistral-small", "command-r", "whisper-large-v3", "", "o"],
)  # fmt: skip
def test_models_that_anybody_may_run_have_no_vendor(model: str) -> None:
    assert vendor_of(model) is None


@pytest.mark.parametrize(
    ("unpriced", "told"),
    [
        ("estimate", "counts it at the most expensive rate that is known"),
        ("ignore", "does not count it"),
        ("refuse", "is a breach"),
    ],
)
def test_the_warning_of_an_unknown_price_says_what_a_budget_does(
    unpriced: str, told: str, instrumented: Instrumented, caplog: pytest.LogCaptureFixture
) -> None:
    with instrumented(unpriced=unpriced), caplog.at_level(logging.WARNING, "otel_harn_steps"):
        priced("openai", "gpt-99")
        priced("openai", "gpt-99", ELSEWHERE)
    (warning,) = caplog.messages
    assert told in warning


# -- the most expensive rate -------------------------------------------------------------------------------------------


def test_the_dearest_rate_is_not_below_any_model_of_the_provider() -> None:
    dearest = dearest_picousd("anthropic", USAGE)
    for model in ("claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5"):
        assert dearest >= (price_of("anthropic", model, USAGE, (), AT)[0] or 0)
    assert dearest < dearest_picousd("openai", USAGE)


@pytest.mark.parametrize("provider", [None, "", "nobody", "ollama", "huggingface"])
def test_a_provider_that_the_book_does_not_know_may_be_any(provider: str | None) -> None:
    providers = ("openai", "anthropic", "aws.bedrock", "mistral_ai", "x_ai")
    assert dearest_picousd(provider, USAGE) == max(dearest_picousd(each, USAGE) for each in providers)


def test_a_provider_is_meant_by_its_name_in_the_conventions() -> None:
    assert dearest_picousd("mistral_ai", USAGE) == dearest_picousd("mistral", USAGE) < dearest_picousd(None, USAGE)


def test_the_dearest_rate_counts_what_is_known() -> None:
    assert dearest_picousd("openai", Usage(None, None)) == 0
    assert dearest_picousd("openai", Usage(-5, -5)) == 0
    assert dearest_picousd("openai", Usage(None, MILLION)) < dearest_picousd("openai", USAGE)
    assert dearest_picousd("openai", Usage(None, 0, cache_read_tokens=MILLION)) > 0
