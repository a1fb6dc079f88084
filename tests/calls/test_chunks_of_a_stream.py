"""What a chunk of a stream costs in this package: a few Python calls, at the five thousandth as at the tenth."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from otel_harn_steps._calls.budget_estimate import SampledOutput
from tests.http_library import answering
from tests.instrumented import Instrumented

MOST_CALLS = 4  # the generator, the look at an event, the client's own look, and an event that is kept
EARLY, LATE, BLOCK = 10, 5_000, 32
CHUNKS = LATE + BLOCK + 1
BUDGETS = {"none": None, "tokens": {"max_tokens": 1_000_000}}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
HELLO: Any = [{"role": "user", "content": "hello"}]


def openai_events() -> Iterator[tuple[str, Any]]:
    for _ in range(CHUNKS):
        yield "", {**CHUNK, "usage": None, "choices": [{"index": 0, "delta": {"content": "a "}, "finish_reason": None}]}
    yield "", {**CHUNK, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}


def anthropic_events() -> Iterator[tuple[str, Any]]:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
    yield "message_start", {"message": {**message, "usage": {"input_tokens": 5, "output_tokens": 1}}}
    for _ in range(CHUNKS):
        yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "a "}}
    yield "message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}


def transport(client: Any, events: Iterable[tuple[str, Any]]) -> Any:
    lines = (
        f"event: {kind}\ndata: {json.dumps({'type': kind, **event} if kind else event)}\n\n" for kind, event in events
    )
    body = "".join(line.removeprefix("event: \n") for line in lines).encode()
    return answering(client, body, "text/event-stream")


def openai_stream(*, reports_unasked: bool) -> Any:
    client = openai.OpenAI(api_key="k", http_client=transport(openai, openai_events()))
    options: Any = {"stream_options": {"include_usage": True}} if reports_unasked else {}
    return client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True, **options)


def anthropic_stream() -> Any:
    client = anthropic.Anthropic(api_key="k", http_client=transport(anthropic, anthropic_events()))
    return client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=HELLO, stream=True)


STREAMS = {
    "openai": lambda: openai_stream(reports_unasked=True),
    "openai, asked for usage": lambda: openai_stream(reports_unasked=False),
    "anthropic": anthropic_stream,
}


class OurCalls:
    """How many Python functions of this package are entered, generators that go on among them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: Any, event: str, _: object) -> None:
        if event == "call" and str(frame.f_globals.get("__name__")).startswith("otel_harn_steps."):
            self.count += 1

    def while_reading(self, stream: Iterator[Any], chunks: int) -> int:
        self.count = 0
        sys.setprofile(self)
        try:
            for _ in range(chunks):
                next(stream)
        finally:
            sys.setprofile(None)
        return self.count


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_chunk_costs_a_few_calls_however_long_the_stream_is(
    name: str, budget: str, instrumented: Instrumented
) -> None:
    with instrumented() as steps:
        with steps.step("s", budget=BUDGETS[budget]) as active:
            stream, calls = iter(STREAMS[name]()), OurCalls()
            calls.while_reading(stream, EARLY)
            early = calls.while_reading(stream, BLOCK)
            for _ in range(LATE - EARLY - BLOCK):
                next(stream)
            late = calls.while_reading(stream, BLOCK)
            assert list(stream)
            assert (active.input_tokens, active.output_tokens) == (5, 7)
    assert 0 < late <= early <= MOST_CALLS * BLOCK


def test_a_budget_keeps_a_bounded_sample_of_a_stream_that_stands_for_all_of_it() -> None:
    sample = SampledOutput(lambda event: event)
    for _ in range(CHUNKS):
        sample.until_next -= 1
        if sample.until_next < 1:
            sample.keep({"content": "four words a chunk "})
    assert sample.tokens == pytest.approx(CHUNKS * 19 / 3.5, rel=0.1)
