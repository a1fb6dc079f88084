"""A request says which host it goes to, by the base URL of the real client that makes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest

from otel_harn_steps._calls.client import Call, Request
from otel_harn_steps._clients._shared.hosts import host_in
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._clients.bedrock import BEDROCK
from otel_harn_steps._clients.cohere import COHERE
from otel_harn_steps._clients.google_genai import GOOGLE_GENAI
from otel_harn_steps._clients.huggingface_hub import HUGGINGFACE_HUB
from otel_harn_steps._clients.litellm import LITELLM
from otel_harn_steps._clients.mistralai import MISTRALAI
from otel_harn_steps._clients.ollama import OLLAMA

URL = "http://llm.corp.example:8000/v1"
HOST = "llm.corp.example"


def posted(client: Any, path: str) -> Call:
    """A request of a client that Stainless generates."""
    options = SimpleNamespace(method="post", url=path, json_data={"model": "m"}, headers={})
    return Call(client, (object, options), {})


def host_of(request: Request | None) -> str | None:
    assert request is not None
    return request.host


def test_the_openai_client() -> None:
    from otel_harn_steps._clients.openai import OPENAI

    client = openai.OpenAI(api_key="test", base_url=URL)
    assert host_of(OPENAI.request(posted(client, "/chat/completions"))) == HOST


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        (URL, "anthropic"),
        ("https://api.anthropic.com", "anthropic"),
        ("https://openrouter.ai/api", "openrouter"),
        ("https://api.deepseek.com/anthropic", "deepseek"),
        ("https://mine.services.ai.azure.com/anthropic", "anthropic"),  # Anthropic's own platform, at its prices
        ("https://aws-external-anthropic.us-east-1.api.aws", "anthropic"),
        ("https://bedrock-mantle.us-east-1.api.aws/anthropic", "aws.bedrock"),
    ],
)
def test_the_anthropic_client(base_url: str, provider: str) -> None:
    client = anthropic.Anthropic(api_key="test", base_url=base_url)
    request = ANTHROPIC.request(posted(client, "/v1/messages"))
    assert request is not None
    assert (request.provider, request.host) == (provider, host_in(base_url))


def test_the_ollama_client() -> None:
    ollama = pytest.importorskip("ollama")
    call = Call(ollama.Client(URL), (object, "POST", "/api/chat"), {"json": {"model": "m"}})
    assert host_of(OLLAMA.request(call)) == HOST


def test_the_mistral_client() -> None:
    client = pytest.importorskip("mistralai.client")
    assert host_of(MISTRALAI.request(Call(client.Mistral(api_key="test", server_url=URL).chat, (), {}, "chat"))) == HOST
    assert host_of(MISTRALAI.request(Call(client.Mistral(api_key="test").chat, (), {}, "chat"))) is None


def test_the_cohere_client() -> None:
    cohere = pytest.importorskip("cohere")
    client = cohere.ClientV2("test", base_url=URL)
    assert host_of(COHERE.request(Call(client.with_raw_response, (), {}, "chat"))) == HOST


def test_the_google_client() -> None:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="test", http_options={"base_url": URL})
    assert host_of(GOOGLE_GENAI.request(Call(client.models, (), {"model": "m"}, "chat"))) == HOST


def test_the_huggingface_client() -> None:
    hub = pytest.importorskip("huggingface_hub")
    at_server, at_hub = hub.InferenceClient(base_url=URL), hub.InferenceClient(model="org/model")
    assert host_of(HUGGINGFACE_HUB.request(Call(at_server, (), {}, "chat"))) == HOST
    request = HUGGINGFACE_HUB.request(Call(at_hub, (), {}, "chat"))
    assert request is not None
    assert (request.model, request.host) == ("org/model", None)


def test_the_aws_client() -> None:
    session = pytest.importorskip("botocore.session").get_session()
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
    client = session.create_client("bedrock-runtime", region_name="us-east-1", endpoint_url=URL, **keys)
    assert host_of(BEDROCK.request(Call(client, ("Converse", {"modelId": "m"}), {}))) == HOST


@pytest.mark.parametrize("name", ["api_base", "base_url"])
def test_litellm(name: str) -> None:
    pytest.importorskip("litellm")
    assert host_of(LITELLM[0].request(Call(None, (), {"model": "openai/m", name: URL}))) == HOST


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.Example.com/v1", "api.example.com"),
        ("http://[::1]:8000", "::1"),
        ("localhost:11434", "localhost"),
        ("http://user:secret@gw:4000/", "gw"),
        ("", None),
        ("http://[broken", None),
        (None, None),
        (7, None),
    ],
)
def test_a_host_is_found_in_any_url(url: object, host: str | None) -> None:
    assert host_in(url) == host
