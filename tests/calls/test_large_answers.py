"""An answer of five megabytes is read where the client has it: nothing of ours copies it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from otel_harn_steps import drain_completed_steps, step
from tests.http_library import answering
from tests.instrumented import Instrumented

SIZE = 5_000_000
MOST_MORE = SIZE // 10
TEXT = "a" * SIZE
ANSWERS: dict[str, Any] = {
    "openai": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    },
    "anthropic": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    },
}
HELLO: Any = [{"role": "user", "content": "hello"}]


def calls_of(name: str) -> Callable[[], Any]:
    """What makes the call that is answered so."""
    package = {"openai": openai, "anthropic": anthropic}[name]
    http = answering(package, json.dumps(ANSWERS[name]).encode(), "application/json")
    if name == "openai":
        chat = openai.OpenAI(api_key="k", http_client=http).chat.completions
        return lambda: chat.create(model="gpt-4o-mini", messages=HELLO)
    messages = anthropic.Anthropic(api_key="k", http_client=http).messages
    return lambda: messages.create(model="claude-haiku-4-5", max_tokens=9, messages=HELLO)


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes at the peak of a call, once it has been made before."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_large_answer_takes_no_more_memory_in_a_step_than_without_us(name: str, instrumented: Instrumented) -> None:
    call = calls_of(name)
    without = peak_of(call)
    with instrumented():

        def in_a_step() -> None:
            with step("s", max_tokens=1_000_000):
                call()

        within = peak_of(in_a_step)
        (*_, record) = drain_completed_steps()
    assert record.output_tokens == 7
    assert without > SIZE
    assert within - without < MOST_MORE
