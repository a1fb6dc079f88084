"""Nothing of what an app asks, gets, sends along or fails with leaves the process by our doing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from otel_harn_steps._guard import forget_faults
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC
from tests.instrumented import Instrumented
from tests.replay.answers import Answer
from tests.replay.native import cohere, google, huggingface, mistral, ollama
from tests.telemetry.leaving import Leaving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

MARKER = re.compile(r"SECRET\w*")
ARGUMENTS = json.dumps({"city": "SECRETarguments"})
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
MESSAGES = [
    {"role": "user", "content": "SECRETprompt"},
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "SECRETtool", "content": "SECRETresult"},
]
PLAIN = [{"role": "user", "content": "SECRETprompt"}]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
SAID = {"role": "assistant", "content": "SECRETanswer", "tool_calls": [TOOL_CALL]}
OPENAI = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": SAID}],
}  # fmt: skip
ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
    "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5},
    "content": [
        {"type": "text", "text": "SECRETanswer"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "SECRETarguments"}},
    ],
}  # fmt: skip
GOOGLE = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "SECRETanswer"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
    "modelVersion": "gemini-2.5-flash",
}  # fmt: skip
COHERE = {
    "id": "c1", "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "SECRETanswer"}]},
    "usage": {"billed_units": {"input_tokens": 10, "output_tokens": 5}},
}  # fmt: skip
OLLAMA = {
    "model": "llama3", "created_at": "2024-01-01T00:00:00Z", "message": {"role": "assistant", "content": "SECRETanswer"},
    "done": True, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 5,
}  # fmt: skip
SENT_ALONG = {
    "api_key": "SECRETkey", "max_retries": 0, "timeout": 5,
    "default_headers": {"x-app": "SECRETheader"}, "default_query": {"q": "SECRETquery"},
}  # fmt: skip


def read_all(result: Any) -> None:
    if hasattr(result, "__next__") or hasattr(result, "__iter__"):
        for _ in result:
            pass


def ask_openai(url: str, *, stream: bool) -> None:
    import openai

    with openai.OpenAI(base_url=f"{url}/SECRETpath", **SENT_ALONG) as client:
        read_all(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=stream, user="SECRETuser"))


def ask_anthropic(url: str, *, stream: bool) -> None:
    import anthropic

    with anthropic.Anthropic(base_url=url, **SENT_ALONG) as client:
        read_all(
            client.messages.create(
                model="claude-sonnet-4-5", max_tokens=9, messages=PLAIN, system="SECRETsystem", stream=stream
            )
        )


def ask_google(url: str, *, stream: bool) -> None:
    pytest.importorskip("google.genai")
    with google(SYNC, url) as client:
        ask = client.models.generate_content_stream if stream else client.models.generate_content
        read_all(ask(model="gemini-2.5-flash", contents="SECRETprompt"))


def ask_mistral(url: str, *, stream: bool) -> None:
    pytest.importorskip("mistralai")
    with mistral(SYNC, url) as client:
        read_all((client.chat.stream if stream else client.chat.complete)(model="mistral-small", messages=PLAIN))


def ask_cohere(url: str, *, stream: bool) -> None:
    pytest.importorskip("cohere")
    with cohere(SYNC, url) as client:
        read_all((client.chat_stream if stream else client.chat)(model="command-a", messages=PLAIN))


def ask_ollama(url: str, *, stream: bool) -> None:
    pytest.importorskip("ollama")
    with ollama(SYNC, url) as client:
        read_all(client.chat("llama3", PLAIN, stream=stream))


def ask_huggingface(url: str, *, stream: bool) -> None:
    pytest.importorskip("huggingface_hub")
    with huggingface(SYNC, url) as client:
        read_all(client.chat_completion(PLAIN, stream=stream))


Ask = Callable[..., None]
CLIENTS: dict[Ask, dict[str, Any]] = {
    ask_openai: OPENAI,
    ask_anthropic: ANTHROPIC,
    ask_google: GOOGLE,
    ask_mistral: OPENAI,
    ask_cohere: COHERE,
    ask_ollama: OLLAMA,
    ask_huggingface: OPENAI,
}


def events_of(ask: Ask) -> tuple[bytes, ...]:
    """A stream of the client's protocol, as far as it takes one to say what it was asked."""
    chunk = {
        "index": 0,
        "finish_reason": None,
        "delta": {"content": "SECRETanswer", "tool_calls": [{"index": 0, **TOOL_CALL}]},
    }
    openai = {**OPENAI, "object": "chat.completion.chunk", "choices": [chunk]}
    start = {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "SECRETanswer"}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
    if ask is ask_ollama:
        return tuple(json.dumps({**OLLAMA, "done": done}).encode() + b"\n" for done in (False, True))
    said = {
        ask_anthropic: [start, block, delta, end],
        ask_google: [GOOGLE, GOOGLE],
        ask_cohere: [
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "SECRETanswer"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE["usage"]}},
        ],
    }.get(ask, [openai, openai])
    named = "event: {}\n" if ask is ask_anthropic else ""
    return tuple(f"{named.format(each.get('type'))}data: {json.dumps(each)}\n\n".encode() for each in said)


JSON, EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream"}
REJECTED = json.dumps({"error": {"message": "no: SECRETrejected", "type": "SECRETtype"}, "message": "SECRETrejected"})


def whole(ask: Ask, *, stream: bool) -> Answer:
    if not stream:
        return Answer(200, (json.dumps(CLIENTS[ask]).encode(),), headers=JSON)
    return Answer(200, events_of(ask), streamed=True, headers=EVENTS)


def rejected(status: int) -> Callable[..., Answer]:
    return lambda ask, *, stream: Answer(status, (REJECTED.encode(),), headers={**JSON, "x-id": "SECRETid"})


def malformed(ask: Ask, *, stream: bool) -> Answer:
    if stream:
        return Answer(200, (b'data: {"SECRETanswer": \n\n', b"SECRETanswer\n\n"), streamed=True, headers=EVENTS)
    return Answer(200, (b'{"SECRETanswer": ', b"<<<"), headers=JSON)


def cut(ask: Ask, *, stream: bool) -> Answer:
    if stream:
        return Answer(200, events_of(ask), streamed=True, headers=EVENTS, cut_after=1)
    body = json.dumps(CLIENTS[ask]).encode()
    return Answer(200, (body[:60], body[60:]), headers=JSON, cut_after=1)


ENDINGS = {"whole": whole, "400": rejected(400), "500": rejected(500), "malformed": malformed, "cut": cut}


def leave_with_what_was_raised(steps: Any, go: Callable[[], None]) -> Exception | None:
    """Run `go` in a step. What it raises leaves the step with a note, as an exception whose class says too much."""
    try:
        with steps.step("s", max_usd=5), steps.step("inner"):
            try:
                go()
            except Exception as error:
                error.add_note("SECRETnote")
                plainly = {"__init__": Exception.__init__, "__str__": Exception.__str__}
                raise type("SECRETclass", (type(error),), plainly)("SECRETmessage") from error
    except Exception as error:  # noqa: BLE001 -- whatever the client made of it
        return error
    return None


@pytest.fixture(autouse=True)
def faults_anew():
    forget_faults()
    yield
    forget_faults()


@pytest.mark.parametrize("redacts", [True, False], ids=["redacted", "not redacted"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("ask", CLIENTS, ids=lambda each: each.__name__)
def test_no_secret_leaves(
    ask: Ask,
    ending: str,
    *,
    stream: bool,
    redacts: bool,
    replay: ReplayServer,
    instrumented: Instrumented,
    tmp_path: Any,
) -> None:
    exchange = replay.serve(ENDINGS[ending](ask, stream=stream))
    leaving = Leaving(tmp_path)
    with leaving.logged(), instrumented(redact_errors=redacts, **leaving.settings()) as steps:
        raised = leave_with_what_was_raised(steps, lambda: ask(f"{replay.address}/{exchange.token}", stream=stream))
        left = leaving.everything(with_errors=redacts)
        said = leaving.everything()
    assert exchange.requests
    assert MARKER.findall(left) == []
    assert raised is None or ending != "whole"
    if raised is not None and not redacts:
        assert "SECRETmessage" in said  # it would have been found


@pytest.mark.parametrize("where", ["request", "prepare", "parse", "fold", "restore", "was_sent", "sent_body"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_no_secret_leaves_where_our_own_code_breaks(
    where: str,
    stream: bool,
    *,
    replay: ReplayServer,
    instrumented: Instrumented,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    own_faults_dropped: None,
) -> None:
    from otel_harn_steps._clients.openai import OpenAIProtocol

    def breaking(*_: Any, **__: Any) -> Any:
        secret = "SECRETlocal"  # in a frame of the traceback
        raise type("SECRETclass", (ValueError,), {})(f"SECRETfault {secret}")

    monkeypatch.setattr(OpenAIProtocol, where, breaking)
    exchange = replay.serve(whole(ask_openai, stream=stream))
    leaving = Leaving(tmp_path)
    with leaving.logged(), instrumented(redact_errors=True, **leaving.settings()) as steps:
        leave_with_what_was_raised(steps, lambda: ask_openai(f"{replay.address}/{exchange.token}", stream=stream))
        left = leaving.everything()
    assert MARKER.findall(left) == []


def test_no_secret_leaves_with_a_time_out(replay: ReplayServer, instrumented: Instrumented, tmp_path: Any) -> None:
    import httpx2
    import openai

    def late(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("SECRETlate", request=request)

    def ask() -> None:
        with httpx2.Client(transport=httpx2.MockTransport(late)) as http:
            client = openai.OpenAI(base_url="http://127.0.0.1:1/SECRETpath", http_client=http, **SENT_ALONG)
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    leaving = Leaving(tmp_path)
    with leaving.logged(), instrumented(redact_errors=True, **leaving.settings()) as steps:
        assert leave_with_what_was_raised(steps, ask) is not None
        left = leaving.everything()
    assert MARKER.findall(left) == []


def test_the_search_finds_what_is_there(instrumented: Instrumented, tmp_path: Any) -> None:
    leaving = Leaving(tmp_path)
    with leaving.logged(), instrumented(**leaving.settings()) as steps:
        with steps.labels(ticket="SECRETlabel"), steps.step("SECRETstep", agent="SECRETagent"):
            steps.record_llm_usage("SECRETmodel", 1, 1)
        left = leaving.everything(with_errors=False)
    assert {"SECRETlabel", "SECRETstep", "SECRETagent", "SECRETmodel"} <= set(MARKER.findall(left))
