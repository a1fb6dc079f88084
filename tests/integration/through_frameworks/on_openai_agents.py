"""openai-agents: its own usage is `context_wrapper.usage`."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from otel_harn_steps import step
from tests.integration.through_frameworks.scenes import CHAT, KEY, OPENAI_URL, play

set_tracing_disabled(disabled=True)


@function_tool
async def look_up(word: str) -> str:
    """Look a word up, by asking a model itself."""
    with step("inside"):
        async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
            answer = await client.responses.create(model=CHAT, input="inside")
    return answer.output_text


def _agent(model: type[OpenAIResponsesModel | OpenAIChatCompletionsModel], client: AsyncOpenAI) -> Agent[Any]:
    return Agent(name="reader", model=model(model=CHAT, openai_client=client), tools=[look_up])


def _usage(result: Any) -> list[int]:
    usage = result.context_wrapper.usage
    return [usage.input_tokens, usage.output_tokens]


async def _ran(model: Any, text: str) -> list[int]:
    async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        return _usage(await Runner.run(_agent(model, client), text))


async def _streamed(model: Any, text: str) -> list[int]:
    async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        result = Runner.run_streamed(_agent(model, client), text)
        async for _ in result.stream_events():
            pass
        return _usage(result)


async def responses() -> list[int]:
    return await _ran(OpenAIResponsesModel, "hello")


async def responses_streamed() -> list[int]:
    return await _streamed(OpenAIResponsesModel, "hello")


async def responses_tool() -> list[int]:
    return await _ran(OpenAIResponsesModel, "use the tool")


async def responses_tool_streamed() -> list[int]:
    return await _streamed(OpenAIResponsesModel, "use the tool")


async def chat() -> list[int]:
    return await _ran(OpenAIChatCompletionsModel, "hello")


async def chat_tool() -> list[int]:
    return await _ran(OpenAIChatCompletionsModel, "use the tool")


async def handed_over() -> list[int]:
    async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        model = OpenAIResponsesModel(model=CHAT, openai_client=client)
        editor = Agent(name="editor", model=model)
        result = Runner.run_streamed(Agent(name="chef", model=model, handoffs=[editor]), "hand over")
        async for _ in result.stream_events():
            pass
        assert result.last_agent is editor
        return _usage(result)


if __name__ == "__main__":
    play(responses, responses_streamed, responses_tool, responses_tool_streamed, chat, chat_tool, handed_over)
