"""A provider that answers with the tokens that a request asks for, and keeps count of what it handed out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import openai

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import Answer, Received

MODEL: Final = "model-of-ours"
INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK = 3, 7
PRICES: Final = {MODEL: {"input_mtok": INPUT_USD_PER_MTOK, "output_mtok": OUTPUT_USD_PER_MTOK}}
_HOST: Final = "api.openai.com"


@dataclass
class HandedOut:
    """What the provider reported, over all calls."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    lock: Any = field(default_factory=Lock, repr=False)

    @property
    def cost_picousd(self) -> int:
        return (self.input_tokens * INPUT_USD_PER_MTOK + self.output_tokens * OUTPUT_USD_PER_MTOK) * 10**6


@dataclass
class Provider:
    """An `openai` client of each kind, and what the provider behind them handed out."""

    client: openai.OpenAI
    aclient: openai.AsyncOpenAI
    handed_out: HandedOut
    exchange: Any

    def request(self, input_tokens: int = 10, output_tokens: int = 5, **options: Any) -> dict[str, Any]:
        """The arguments of a call that is answered with this usage."""
        wanted = json.dumps({"in": input_tokens, "out": output_tokens})
        return {"model": MODEL, "messages": [{"role": "user", "content": wanted}], **options}

    def ask(self, input_tokens: int = 10, output_tokens: int = 5, **options: Any) -> Any:
        return self.client.chat.completions.create(**self.request(input_tokens, output_tokens, **options))

    async def ask_async(self, input_tokens: int = 10, output_tokens: int = 5, **options: Any) -> Any:
        return await self.aclient.chat.completions.create(**self.request(input_tokens, output_tokens, **options))


@contextmanager
def provider(server: ReplayServer, **options: Any) -> Iterator[Provider]:
    """A provider with counts of its own. `options` are those of the client."""
    handed_out = HandedOut()
    exchange = server.serve(lambda received: _answer(received, handed_out))
    address = exchange.url_at(_HOST) + "/v1"
    given = {"api_key": "test", "base_url": address, "max_retries": 0, "timeout": 20, **options}
    # Each connection ends with its call: it belongs to the event loop of that call.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_keepalive_connections=0)
    transport = {"proxy": server.address, "trust_env": False, "verify": False, "limits": limits}
    with openai.DefaultHttpxClient(**transport) as http:
        client = openai.OpenAI(http_client=http, **given)
        aclient = openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(**transport), **given)
        yield Provider(client, aclient, handed_out, exchange)


def _answer(received: Received, handed_out: HandedOut) -> Answer:
    body = received.json()
    wanted = json.loads(body["messages"][-1]["content"])
    if wanted.get("status"):
        return Answer(
            wanted["status"], (b'{"error": {"message": "no"}}',), headers={"content-type": "application/json"}
        )
    wanted["out"] = min(wanted["out"], body.get("max_tokens") or wanted["out"])
    usage = {"prompt_tokens": wanted["in"], "completion_tokens": wanted["out"]}
    usage["total_tokens"] = wanted["in"] + wanted["out"]
    with handed_out.lock:
        handed_out.calls += 1
        handed_out.input_tokens += wanted["in"]
        handed_out.output_tokens += wanted["out"]
    head = {"id": f"chatcmpl-{handed_out.calls}", "created": 1, "model": MODEL}
    if body.get("stream"):
        return Answer(200, tuple(_chunks(head, wanted["out"], usage)), streamed=True, headers=_EVENT_STREAM)
    message = {"role": "assistant", "content": "word " * wanted["out"]}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Answer(200, (json.dumps(whole).encode(),), headers={"content-type": "application/json"})


_EVENT_STREAM: Final = {"content-type": "text/event-stream"}


def _chunks(head: dict[str, Any], words: int, usage: dict[str, int]) -> Iterator[bytes]:
    head = {**head, "object": "chat.completion.chunk"}
    for _ in range(words):
        yield _event({**head, "choices": [{"index": 0, "delta": {"content": "word "}}], "usage": None})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
