"""dspy and litellm, over openai's client and over litellm's own transports."""

from __future__ import annotations

from typing import Any

import dspy
import litellm

from tests.integration.through_frameworks.scenes import CHAT, CLAUDE, EMBEDDING, GEMINI, KEY, OPENAI_URL, URL, play

HELLO = [{"role": "user", "content": "hello"}]
OPENAI = {"model": f"openai/{CHAT}", "api_base": OPENAI_URL, "api_key": KEY, "messages": HELLO}
ANTHROPIC = {"model": f"anthropic/{CLAUDE}", "api_base": URL, "api_key": KEY, "messages": HELLO}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}


def _usage(answer: Any) -> list[int]:
    return [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def dspy_predict() -> None:
    model = dspy.LM(f"openai/{CHAT}", api_base=OPENAI_URL, api_key=KEY, cache=False)
    with dspy.context(lm=model):
        assert dspy.Predict("question -> answer")(question="answer in fields").answer == "Oslo"


async def dspy_predict_async() -> None:
    model = dspy.LM(f"openai/{CHAT}", api_base=OPENAI_URL, api_key=KEY, cache=False)
    with dspy.context(lm=model):
        assert (await dspy.Predict("question -> answer").acall(question="answer in fields")).answer == "Oslo"


def dspy_anthropic() -> None:
    model = dspy.LM(f"anthropic/{CLAUDE}", api_base=URL, api_key=KEY, cache=False)
    with dspy.context(lm=model):
        assert dspy.Predict("question -> answer")(question="answer in fields").answer == "Oslo"


def completion() -> list[int]:
    return _usage(litellm.completion(**OPENAI))


async def acompletion() -> list[int]:
    return _usage(await litellm.acompletion(**OPENAI))


def completion_streamed() -> None:
    list(litellm.completion(**OPENAI, stream=True))


async def acompletion_streamed() -> None:
    async for _ in await litellm.acompletion(**OPENAI, stream=True):
        pass


def completion_streamed_asked() -> None:
    list(litellm.completion(**OPENAI, **ASKED))


def anthropic() -> list[int]:
    return _usage(litellm.completion(**ANTHROPIC))


async def anthropic_async() -> list[int]:
    return _usage(await litellm.acompletion(**ANTHROPIC))


def anthropic_streamed() -> None:
    list(litellm.completion(**ANTHROPIC, stream=True))


async def anthropic_streamed_async() -> None:
    async for _ in await litellm.acompletion(**ANTHROPIC, stream=True):
        pass


def responses() -> list[int]:
    usage = litellm.responses(model=f"openai/{CHAT}", api_base=OPENAI_URL, api_key=KEY, input="hello").usage
    return [usage.input_tokens, usage.output_tokens]


def gemini() -> list[int]:
    url = f"{URL}/v1beta/models/{GEMINI}"
    return _usage(litellm.completion(model=f"gemini/{GEMINI}", api_base=url, api_key=KEY, messages=HELLO))


def embedding() -> None:
    litellm.embedding(model=f"openai/{EMBEDDING}", api_base=OPENAI_URL, api_key=KEY, input=["hello"])


async def through_a_router() -> list[int]:
    entry = {"model": f"openai/{CHAT}", "api_base": OPENAI_URL, "api_key": KEY}
    router = litellm.Router(model_list=[{"model_name": "small", "litellm_params": entry}])
    return _usage(await router.acompletion(model="small", messages=HELLO))


if __name__ == "__main__":
    play(
        dspy_predict,
        dspy_predict_async,
        dspy_anthropic,
        completion,
        acompletion,
        completion_streamed,
        acompletion_streamed,
        completion_streamed_asked,
        anthropic,
        anthropic_async,
        anthropic_streamed,
        anthropic_streamed_async,
        responses,
        gemini,
        embedding,
        through_a_router,
    )
