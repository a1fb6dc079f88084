"""A body that the app reads itself: byte for byte what the provider sent, whatever that is and however it comes."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.instrumented import instrumented

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
TYPES = ("text/event-stream", "text/event-stream; charset=utf-8", "application/json", "application/octet-stream", "")
# What our reading of a body looks for, between bytes that mean nothing.
WORDS = (
    b"data:", b"data: ", b"data: [DONE]", b"event: x", b"id: 1", b"retry: 3", b":", b"\n", b"\r\n", b"\r", b"\n\n", b"\xef\xbb\xbf",
    b'{"choices": []}', b'{"id": "x"}', b'{"choices": [{"delta": {}}]}', b"{", b"}", b"null", b"[]", b"\x00", b"\xff", b"\xe2\x80\xa8",
)  # fmt: skip
USAGE = (b'"usage": null', b'{"usage": {"prompt_tokens": 3}}', b'{"choices": [], "usage": {"prompt_tokens": 3}}')


def chunks(*words: bytes) -> st.SearchStrategy[list[bytes]]:
    piece = st.sampled_from([*WORDS, *words]) | st.binary(max_size=12)
    return st.lists(st.lists(piece, max_size=6).map(b"".join), max_size=8)


class Provider:
    """An `openai` client whose provider sends `chunks`."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.content_type = ""
        transport = httpx2.MockTransport(self._answer)
        self.client = openai.OpenAI(
            api_key="test", base_url="http://127.0.0.1:1", max_retries=0, http_client=httpx2.Client(transport=transport)
        )

    def _answer(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": self.content_type}, content=iter(self.chunks))

    def read(self, *, stream: bool, by: str) -> Any:
        create = self.client.chat.completions.with_streaming_response.create
        with create(**CHAT, stream=stream) as response:
            return b"".join(response.iter_bytes()) if by == "iter_bytes" else response.read()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.client.close()


def assert_the_same(steps: ModuleType, provider: Provider, sent: list[bytes], content_type: str, **how: Any) -> None:
    provider.chunks, provider.content_type = sent, content_type
    with steps.step("s"):
        assert provider.read(**how) == b"".join(sent)
    (record,) = steps.drain_completed_steps()
    assert record.llm_calls == 1


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chunks(*USAGE), st.sampled_from(TYPES), st.booleans(), st.sampled_from(["iter_bytes", "read"]))
def test_where_nothing_was_asked(provider, sent, content_type, stream, by):
    with instrumented(stream_usage=False) as steps:
        assert_the_same(steps, provider, sent, content_type, stream=stream, by=by)


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chunks(), st.sampled_from(TYPES), st.sampled_from(["iter_bytes", "read"]))
def test_where_usage_was_asked_and_none_came(provider, sent, content_type, by):
    with instrumented() as steps:
        assert_the_same(steps, provider, sent, content_type, stream=True, by=by)
