"""Each client against a fake: a plain call and a stream, sync and async, and what the app reads from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import anthropic
import cohere
import groq
import mistralai.client
import openai
import together
from google import genai

TIMEOUT_S = 3.0
KEY = "test"
LLAMA = "meta-llama/Llama-3.3-70B-Instruct-Turbo"


@dataclass(frozen=True, slots=True)
class Client:
    """A client library, as an app would use it."""

    make: Callable[[str, int], Any]
    make_async: Callable[[str, int], Any]
    call: Callable[[Any, str], Any]
    stream: Callable[[Any, str], Any]


def _stainless(package: Any, name: str) -> tuple[Callable[[str, int], Any], Callable[[str, int], Any]]:
    def made(cls: Any) -> Callable[[str, int], Any]:
        return lambda url, retries: cls(base_url=url, api_key=KEY, timeout=TIMEOUT_S, max_retries=retries)

    return made(getattr(package, name)), made(getattr(package, f"Async{name}"))


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _google(url: str, _: int) -> genai.Client:
    options = {"base_url": url, "api_version": "v1beta", "timeout": int(TIMEOUT_S * 1000)}
    return genai.Client(api_key=KEY, http_options=options)


def _google_async(url: str, _: int) -> Any:
    client = _google(url, 0)
    return SimpleNamespace(models=client.aio.models, _open=client)  # else it closes when it is collected


def _mistral(url: str, _: int) -> mistralai.client.Mistral:
    return mistralai.client.Mistral(api_key=KEY, server_url=url, timeout_ms=int(TIMEOUT_S * 1000))


def _mistral_async(url: str, _: int) -> Any:
    chat = _mistral(url, 0).chat
    return SimpleNamespace(chat=SimpleNamespace(complete=chat.complete_async, stream=chat.stream_async))


def _chat(model: str) -> tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]:
    def call(client: Any, text: str) -> Any:
        return client.chat.completions.create(model=model, messages=_user(text))

    def stream(client: Any, text: str) -> Any:
        asked = {"include_usage": True}
        return client.chat.completions.create(model=model, messages=_user(text), stream=True, stream_options=asked)

    return call, stream


CLIENTS: Mapping[str, Client] = {
    "openai": Client(*_stainless(openai, "OpenAI"), *_chat("gpt-4o-mini")),
    "responses": Client(
        *_stainless(openai, "OpenAI"),
        lambda client, text: client.responses.create(model="gpt-4o-mini", input=text),
        lambda client, text: client.responses.create(model="gpt-4o-mini", input=text, stream=True),
    ),
    "anthropic": Client(
        *_stainless(anthropic, "Anthropic"),
        lambda client, text: client.messages.create(model="claude-sonnet-4-5", max_tokens=99, messages=_user(text)),
        lambda client, text: client.messages.create(
            model="claude-sonnet-4-5", max_tokens=99, messages=_user(text), stream=True
        ),
    ),
    "google": Client(
        _google,
        _google_async,
        lambda client, text: client.models.generate_content(model="gemini-2.5-flash", contents=text),
        lambda client, text: client.models.generate_content_stream(model="gemini-2.5-flash", contents=text),
    ),
    "cohere": Client(
        lambda url, _: cohere.ClientV2(KEY, base_url=url, timeout=TIMEOUT_S),
        lambda url, _: cohere.AsyncClientV2(KEY, base_url=url, timeout=TIMEOUT_S),
        lambda client, text: client.chat(model="command-a-03-2025", messages=_user(text)),
        lambda client, text: client.chat_stream(model="command-a-03-2025", messages=_user(text)),
    ),
    "mistral": Client(
        _mistral,
        _mistral_async,
        lambda client, text: client.chat.complete(model="mistral-small-latest", messages=_user(text)),
        lambda client, text: client.chat.stream(model="mistral-small-latest", messages=_user(text)),
    ),
    "groq": Client(
        *_stainless(groq, "Groq"),
        lambda client, text: client.chat.completions.create(model="llama-3.3-70b-versatile", messages=_user(text)),
        lambda client, text: client.chat.completions.create(
            model="llama-3.3-70b-versatile", messages=_user(text), stream=True
        ),
    ),
    "together": Client(
        *_stainless(together, "Together"),
        lambda client, text: client.chat.completions.create(model=LLAMA, messages=_user(text)),
        lambda client, text: client.chat.completions.create(model=LLAMA, messages=_user(text), stream=True),
    ),
}


def read(client: Client, url: str, text: str, *, stream: bool, retries: int) -> Iterator[Any]:
    """What a sync app reads: the answer, or each event."""
    made = client.make(url, retries)
    if not stream:
        yield client.call(made, text)
        return
    yield from client.stream(made, text)


async def read_async(client: Client, url: str, text: str, *, stream: bool, retries: int) -> AsyncIterator[Any]:
    """What an async app reads."""
    made = client.make_async(url, retries)
    result = (client.stream if stream else client.call)(made, text)
    if isinstance(result, Awaitable):
        result = await result
    if not stream:
        yield result
        return
    async for event in result:
        yield event
