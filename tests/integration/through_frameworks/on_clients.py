"""The clients' own loops, which call tools, which call clients."""

from __future__ import annotations

from typing import Any

from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool
from google.genai import Client
from google.genai.types import GenerateContentConfig, HttpOptions
from openai import AsyncOpenAI, OpenAI

from otel_harn_steps import step
from tests.integration.through_frameworks.scenes import CHAT, CLAUDE, GEMINI, KEY, OPENAI_URL, URL, play

TEXT = "use the tool"
LOOP: dict[str, Any] = {"model": CLAUDE, "max_tokens": 99, "messages": [{"role": "user", "content": TEXT}]}


def look_up(word: str) -> str:
    """Look a word up, by asking a model."""
    with step("inside"), OpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        client.responses.create(model=CHAT, input="inside")
    return word


async def look_up_async(word: str) -> str:
    """Look a word up, by asking a model."""
    with step("inside"):
        async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
            await client.responses.create(model=CHAT, input="inside")
    return word


look_up_async.__name__ = "look_up"


def _google() -> Client:
    return Client(api_key=KEY, http_options=HttpOptions(base_url=URL, api_version="v1beta"))


def google() -> None:
    client = _google()
    client.models.generate_content(model=GEMINI, contents=TEXT, config=GenerateContentConfig(tools=[look_up]))


async def google_async() -> None:
    config = GenerateContentConfig(tools=[look_up_async])
    client = _google()
    await client.aio.models.generate_content(model=GEMINI, contents=TEXT, config=config)


def google_streamed() -> None:
    config = GenerateContentConfig(tools=[look_up])
    client = _google()
    list(client.models.generate_content_stream(model=GEMINI, contents=TEXT, config=config))


def google_chat() -> None:
    client = _google()
    client.chats.create(model=GEMINI, config=GenerateContentConfig(tools=[look_up])).send_message(TEXT)


def anthropic() -> None:
    with Anthropic(base_url=URL, api_key=KEY) as client:
        client.beta.messages.tool_runner(**LOOP, tools=[beta_tool(look_up)]).until_done()


def anthropic_streamed() -> None:
    with Anthropic(base_url=URL, api_key=KEY) as client:
        for stream in client.beta.messages.tool_runner(**LOOP, tools=[beta_tool(look_up)], stream=True):
            list(stream)


async def anthropic_async() -> None:
    async with AsyncAnthropic(base_url=URL, api_key=KEY) as client:
        await client.beta.messages.tool_runner(**LOOP, tools=[beta_async_tool(look_up_async)]).until_done()


if __name__ == "__main__":
    play(google, google_async, google_streamed, google_chat, anthropic, anthropic_streamed, anthropic_async)
