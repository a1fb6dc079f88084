"""Answers that a client cannot make sense of: somebody was at work for them, so they are calls."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import Answer
from tests.replay.bills import UNMETERED_CALL, Bill

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

HELLO = [{"role": "user", "content": "hello"}]
NONSENSE = Answer(200, (b"{nonsense: <<<>>>",), headers={"content-type": "application/json"})


def _google(url: str) -> Any:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="test", http_options={"base_url": url})
    for _ in client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello"):
        pass


def _mistral(url: str) -> Any:
    pytest.importorskip("mistralai")
    client = pytest.importorskip("mistralai.client", reason="mistralai 2 or newer").Mistral(
        api_key="test", server_url=url
    )
    for _ in client.chat.stream(model="mistral-small-latest", messages=HELLO):
        pass


@pytest.mark.parametrize("read", [_google, _mistral])
def test_a_stream_that_is_nonsense_is_one_unmetered_call(read: Any, replay: ReplayServer, steps: ModuleType) -> None:
    exchange = replay.serve(NONSENSE)
    with steps.step("s"), pytest.raises(Exception, match=r"nonsense|JSON|Unexpected"):
        read(f"{replay.address}/{exchange.token}")
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == UNMETERED_CALL


def test_an_answer_that_is_nested_too_deeply_fails_as_without_us(replay: ReplayServer, steps: ModuleType) -> None:
    import openai

    deep = Answer(200, (b"[" * 200_000,), headers={"content-type": "application/json"})

    def ask() -> BaseException:
        exchange = replay.serve(deep)
        with openai.OpenAI(api_key="test", base_url=f"{replay.address}/{exchange.token}", max_retries=0) as client:
            with pytest.raises(Exception, match=r".") as caught:
                client.chat.completions.create(model="gpt-4o", messages=HELLO)
        return caught.value

    bare = ask()
    with steps.step("s"):
        ours = ask()
    (record,) = steps.drain_completed_steps()
    assert (type(ours), str(ours)) == (type(bare), str(bare))
    assert Bill.of_record(record) == UNMETERED_CALL
