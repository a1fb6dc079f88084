"""pydantic-ai over openai's two APIs, anthropic and google: its own usage is `RunUsage`, with the cost."""

from __future__ import annotations

from typing import Any

from google.genai import Client
from google.genai.types import HttpOptions
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.integration.through_frameworks.scenes import CHAT, CLAUDE, GEMINI, KEY, OPENAI_URL, URL, play


def _responses() -> Model:
    return OpenAIResponsesModel(CHAT, provider=OpenAIProvider(base_url=OPENAI_URL, api_key=KEY))


def _chat() -> Model:
    return OpenAIChatModel(CHAT, provider=OpenAIProvider(base_url=OPENAI_URL, api_key=KEY))


def _anthropic() -> Model:
    return AnthropicModel(CLAUDE, provider=AnthropicProvider(base_url=URL, api_key=KEY))


def _google() -> Model:
    options = HttpOptions(base_url=URL, api_version="v1beta")
    return GoogleModel(GEMINI, provider=GoogleProvider(client=Client(api_key=KEY, http_options=options)))


def _agent(model: Model) -> Agent[None, str]:
    agent = Agent(model)

    @agent.tool_plain
    def look_up(word: str) -> str:
        return word

    return agent


def _usage(result: Any) -> list[float]:
    usage = result.usage
    cost = getattr(usage, "cost", None)
    return [usage.input_tokens, usage.output_tokens, *([] if cost is None else [float(cost)])]


async def _ran(model: Model) -> list[float]:
    return _usage(await _agent(model).run("use the tool"))


async def _streamed(model: Model) -> list[float]:
    async with _agent(model).run_stream("hello") as result:
        async for _ in result.stream_text():
            pass
        return _usage(result)


async def openai_responses() -> list[float]:
    return await _ran(_responses())


async def openai_chat() -> list[float]:
    return await _ran(_chat())


async def anthropic() -> list[float]:
    return await _ran(_anthropic())


async def google() -> list[float]:
    return await _ran(_google())


async def openai_responses_streamed() -> list[float]:
    return await _streamed(_responses())


async def openai_chat_streamed() -> list[float]:
    return await _streamed(_chat())


async def anthropic_streamed() -> list[float]:
    return await _streamed(_anthropic())


async def google_streamed() -> list[float]:
    return await _streamed(_google())


if __name__ == "__main__":
    play(
        openai_responses,
        openai_chat,
        anthropic,
        google,
        openai_responses_streamed,
        openai_chat_streamed,
        anthropic_streamed,
        google_streamed,
    )
