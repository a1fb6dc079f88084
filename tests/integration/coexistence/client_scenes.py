"""What an app does with the clients of OpenAI and Anthropic that others have instrumented. `url` is where it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scene = Callable[[str], Awaitable[None]]

MODEL = "gpt-4o-mini"
CLAUDE = "claude-sonnet-4-5"
QUESTION: list[Any] = [{"role": "user", "content": "How is Rome?"}]


async def chat(url: str) -> None:
    import openai

    with openai.OpenAI(api_key="test", base_url=url) as client:
        client.chat.completions.create(model=MODEL, messages=QUESTION)


async def _chat_async(url: str) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key="test", base_url=url) as client:
        await client.chat.completions.create(model=MODEL, messages=QUESTION)


async def _chat_stream(url: str) -> None:
    import openai

    with openai.OpenAI(api_key="test", base_url=url) as client:
        events = client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        for _ in events:
            pass


async def _responses(url: str) -> None:
    import openai

    with openai.OpenAI(api_key="test", base_url=url) as client:
        client.responses.create(model=MODEL, input="How is Rome?")


async def _messages(url: str) -> None:
    import anthropic

    with anthropic.Anthropic(api_key="test", base_url=url.removesuffix("/v1")) as client:
        client.messages.create(model=CLAUDE, max_tokens=99, messages=QUESTION)


async def _messages_stream(url: str) -> None:
    import anthropic

    with anthropic.Anthropic(api_key="test", base_url=url.removesuffix("/v1")) as client:
        for _ in client.messages.create(model=CLAUDE, max_tokens=99, messages=QUESTION, stream=True):
            pass


OPENAI: Mapping[str, Scene] = {
    "chat": chat,
    "chat async": _chat_async,
    "chat stream": _chat_stream,
    "responses": _responses,
}
ANTHROPIC: Mapping[str, Scene] = {"messages": _messages, "messages stream": _messages_stream}
