"""LangChain over openai, anthropic and google. What it says that it spent is on its messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI
from pydantic import BaseModel

from otel_harn_steps import step
from tests.integration.through_frameworks.scenes import (
    CHAT,
    CLAUDE,
    EMBEDDING,
    GEMINI,
    KEY,
    OPENAI_URL,
    URL,
    Scene,
    play,
)


class City(BaseModel):
    """A city."""

    name: str


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    with step("inside"), OpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        client.responses.create(model=CHAT, input="inside")
    return word


def _openai(**more: Any) -> BaseChatModel:
    return ChatOpenAI(model=CHAT, base_url=OPENAI_URL, api_key=KEY, **more)


def _asking() -> BaseChatModel:
    # Its own way at OpenAI's address: at another one it asks no usage of a stream, unless it is told to.
    return _openai(stream_usage=True)


def _responses() -> BaseChatModel:
    return _openai(use_responses_api=True)


def _with_headers() -> BaseChatModel:
    return _openai(include_response_headers=True)


def _anthropic() -> BaseChatModel:
    return ChatAnthropic(model=CLAUDE, base_url=URL, api_key=KEY, max_tokens=100)


def _google() -> BaseChatModel:
    return ChatGoogleGenerativeAI(model=GEMINI, google_api_key=KEY, base_url=URL, max_retries=1)


def _usage(messages: Iterable[Any]) -> list[int] | None:
    reported = [
        message.usage_metadata for message in messages if isinstance(message, AIMessage) and message.usage_metadata
    ]
    return [sum(usage[f"{way}_tokens"] for usage in reported) for way in ("input", "output")] if reported else None


def _scenes(name: str, model: Any) -> list[Scene]:
    def told_in_streams(chunks: Iterable[Any]) -> list[int] | None:
        usage = _usage(chunks)
        # Of an Anthropic stream LangChain reads the input in the last event, where aimock does not report it.
        return None if name == "anthropic" else usage

    def invoked() -> Any:
        return _usage([model().invoke("hello")])

    async def ainvoked() -> Any:
        return _usage([await model().ainvoke("hello")])

    def streamed() -> Any:
        return told_in_streams(model().stream("hello"))

    async def astreamed() -> Any:
        return told_in_streams([chunk async for chunk in model().astream("hello")])

    def structured() -> Any:
        result = model().with_structured_output(City, include_raw=True).invoke("which city")
        assert result["parsed"] == City(name="Oslo"), result
        return _usage([result["raw"]])

    def agent() -> Any:
        return _usage(create_agent(model(), [look_up]).invoke({"messages": [("user", "use the tool")]})["messages"])

    scenes: list[Scene] = [invoked, ainvoked, streamed, astreamed, structured, agent]
    for scene in scenes:
        scene.__name__ = f"{name} {scene.__name__}"
    return scenes


def embedded() -> None:
    OpenAIEmbeddings(model=EMBEDDING, base_url=OPENAI_URL, api_key=KEY, check_embedding_ctx_length=False).embed_query(
        "hello"
    )


if __name__ == "__main__":
    play(
        *_scenes("openai", _openai),
        *_scenes("asking", _asking),
        *_scenes("responses", _responses),
        *_scenes("headers", _with_headers),
        *_scenes("anthropic", _anthropic),
        *_scenes("google", _google),
        embedded,
    )
