"""instructor: an answer that does not validate is paid for like the one that does."""

from __future__ import annotations

from typing import Any

import instructor
from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.integration.through_frameworks.scenes import CHAT, CLAUDE, KEY, OPENAI_URL, URL, play

WRONG = [{"role": "user", "content": "wrong at first"}]
CITY = [{"role": "user", "content": "which city"}]


class City(BaseModel):
    """A city."""

    name: str


def _usage(answer: Any) -> list[int]:
    return [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def first_try() -> list[int]:
    client = instructor.from_openai(OpenAI(base_url=OPENAI_URL, api_key=KEY))
    made = client.chat.completions.create_with_completion(model=CHAT, response_model=City, messages=CITY)
    assert made[0].name == "Oslo"
    return _usage(made[1])


def second_try() -> list[int]:
    client = instructor.from_openai(OpenAI(base_url=OPENAI_URL, api_key=KEY))
    made = client.chat.completions.create_with_completion(
        model=CHAT, response_model=City, messages=WRONG, max_retries=2
    )
    assert made[0].name == "Oslo"
    return _usage(made[1])


async def second_try_async() -> list[int]:
    client = instructor.from_openai(AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY))
    made = await client.chat.completions.create_with_completion(
        model=CHAT, response_model=City, messages=WRONG, max_retries=2
    )
    assert made[0].name == "Oslo"
    return _usage(made[1])


def partial() -> None:
    client = instructor.from_openai(OpenAI(base_url=OPENAI_URL, api_key=KEY))
    list(client.chat.completions.create_partial(model=CHAT, response_model=City, messages=CITY))


def anthropic_second_try() -> None:
    client = instructor.from_anthropic(Anthropic(base_url=URL, api_key=KEY))
    made = client.messages.create(model=CLAUDE, max_tokens=99, response_model=City, messages=WRONG, max_retries=2)
    assert made.name == "Oslo"


if __name__ == "__main__":
    play(first_try, second_try, second_try_async, partial, anthropic_second_try)
