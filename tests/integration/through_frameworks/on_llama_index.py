"""llama-index over openai: plain, structured, as an agent, and embeddings."""

from __future__ import annotations

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from openai import AsyncOpenAI
from pydantic import BaseModel

from otel_harn_steps import step
from tests.integration.through_frameworks.scenes import CHAT, EMBEDDING, KEY, OPENAI_URL, play


class City(BaseModel):
    """A city."""

    name: str


async def look_up(word: str) -> str:
    """Look a word up."""
    with step("inside"):
        async with AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
            await client.responses.create(model=CHAT, input="inside")
    return word


def _model() -> OpenAI:
    return OpenAI(model=CHAT, api_base=OPENAI_URL, api_key=KEY)


def completed() -> None:
    _model().complete("hello")


async def completed_async() -> None:
    await _model().acomplete("hello")


def chat_streamed() -> None:
    list(_model().stream_chat([ChatMessage(content="hello")]))


def responses() -> None:
    OpenAIResponses(model=CHAT, api_base=OPENAI_URL, api_key=KEY).chat([ChatMessage(content="hello")])


def structured() -> None:
    answer = _model().as_structured_llm(City).chat([ChatMessage(content="which city")])
    assert answer.raw == City(name="Oslo")


async def agent() -> None:
    await FunctionAgent(tools=[look_up], llm=_model()).run("use the tool")


def embedded() -> None:
    OpenAIEmbedding(model=EMBEDDING, api_base=OPENAI_URL, api_key=KEY).get_text_embedding("hello")


if __name__ == "__main__":
    play(completed, completed_async, chat_streamed, responses, structured, agent, embedded)
