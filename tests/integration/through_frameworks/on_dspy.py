"""dspy over lm15, its own engine, and over litellm; litellm over openai's client and over its own transports."""

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


def _asked(model: Any) -> list[int]:
    with dspy.context(lm=model, track_usage=True):
        prediction = dspy.Predict("question -> answer")(question="answer in fields")
    assert prediction.answer == "Oslo"
    return _counted(prediction)


def _counted(prediction: Any) -> list[int]:
    """What dspy counts: whatever the provider names it."""
    (usage,) = prediction.get_lm_usage().values()
    sides = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    return [next(usage[name] for name in names if usage.get(name) is not None) for names in sides]


def _openai(**more: Any) -> Any:
    return dspy.LM(f"openai/{CHAT}", api_base=OPENAI_URL, api_key=KEY, cache=False, **more)


def _anthropic() -> Any:
    return dspy.LM(f"anthropic/{CLAUDE}", api_base=f"{URL}/v1", api_key=KEY, cache=False)


def _gemini() -> Any:
    return dspy.LM(f"gemini/{GEMINI}", api_base=f"{URL}/v1beta", api_key=KEY, cache=False)


def dspy_predict() -> list[int]:
    return _asked(_openai(engine="lm15"))


def dspy_predict_by_default() -> list[int]:
    return _asked(_openai())


def dspy_responses() -> list[int]:
    return _asked(_openai(model_type="responses"))


def dspy_anthropic() -> list[int]:
    return _asked(_anthropic())


def dspy_gemini() -> list[int]:
    return _asked(_gemini())


def dspy_litellm() -> list[int]:
    return _asked(_openai(engine="litellm"))


async def dspy_predict_async() -> list[int]:
    with dspy.context(lm=_openai(), track_usage=True):
        prediction = await dspy.Predict("question -> answer").acall(question="answer in fields")
    assert prediction.answer == "Oslo"
    return _counted(prediction)


async def _streamed(model: Any) -> None:
    listener = dspy.streaming.StreamListener(signature_field_name="answer")
    with dspy.context(lm=model):
        program = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
        parts = [part async for part in program(question="answer in fields")]
    assert parts[-1].answer == "Oslo"


async def dspy_streamed() -> None:
    await _streamed(_openai())


async def dspy_anthropic_streamed() -> None:
    await _streamed(_anthropic())


async def dspy_gemini_streamed() -> None:
    await _streamed(_gemini())


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
        dspy_predict_by_default,
        dspy_responses,
        dspy_anthropic,
        dspy_gemini,
        dspy_litellm,
        dspy_predict_async,
        dspy_streamed,
        dspy_anthropic_streamed,
        dspy_gemini_streamed,
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
