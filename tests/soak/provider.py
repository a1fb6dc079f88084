"""A provider that answers, fails, cuts and dawdles at random, and knows what it has charged for."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

MODEL = "soak-model"
PRICES = {MODEL: {"input_mtok": 1, "output_mtok": 2}}


class HandedOut:
    """What the provider has charged for, as it knows itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts = Counter[str]()

    def usage(self, choose: random.Random) -> dict[str, int]:
        """The usage of an answer that is about to be read, which is counted."""
        usage = {"prompt_tokens": choose.randint(1, 50), "completion_tokens": choose.randint(1, 50)}
        self.add(usage["prompt_tokens"], usage["completion_tokens"])
        return usage | {"total_tokens": sum(usage.values())}

    def add(self, input_tokens: int, output_tokens: int) -> None:
        """Count a call."""
        with self._lock:
            self.counts.update(calls=1, input_tokens=input_tokens, output_tokens=output_tokens)


class Provider(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers, fails, cuts, dawdles, at random."""

    def __init__(self, handed_out: HandedOut, seed: int, faults: float = 0.3) -> None:
        self._handed_out = handed_out
        self._choose = random.Random(seed)
        self._faults = faults

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a synchronous client."""
        fault = self._fault()
        if fault == "slow":
            time.sleep(0.002)
        return self._answer(request, fault)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer an asynchronous client."""
        fault = self._fault()
        if fault == "slow":
            await asyncio.sleep(0.005)
        return self._answer(request, fault)

    def _fault(self) -> str | None:
        choose = self._choose
        if choose.random() >= self._faults:
            return None
        return choose.choice(("slow", "error", "rejected", "refused", "malformed", "odd usage", "cut"))

    def _answer(self, request: httpx.Request, fault: str | None) -> httpx.Response:
        asked = json.loads(request.content)
        if fault == "refused":
            raise httpx.ConnectError("nobody is there", request=request)
        if fault in ("error", "rejected"):
            status = 500 if fault == "error" else 429
            return httpx.Response(status, json={"error": {"message": fault}}, headers={"retry-after-ms": "1"})
        if asked.get("stream"):
            with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            events = self._events(fault, with_usage=with_usage)
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Stream(events, request))
        if fault == "malformed":
            return httpx.Response(200, headers={"content-type": "application/json"}, content=b'{"id": "x", "choi')
        if fault == "cut":
            return httpx.Response(200, stream=_Stream(iter([b'{"id"', None]), request))
        usage: Any = {"prompt_tokens": "many"} if fault == "odd usage" else self._handed_out.usage(self._choose)
        return httpx.Response(200, json={**OF_AN_ANSWER, "object": "chat.completion", "choices": [], "usage": usage})

    def _events(self, fault: str | None, *, with_usage: bool) -> Iterator[bytes | None]:
        for _ in range(self._choose.randint(1, 6)):
            delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
            yield _event({**_OF_A_CHUNK, "choices": [delta]})
        if fault == "cut":
            yield None
        if fault == "malformed":
            yield b"data: {broken\n\n"
        if with_usage:
            yield _event({**_OF_A_CHUNK, "choices": [], "usage": self._handed_out.usage(self._choose)})
        yield b"data: [DONE]\n\n"


OF_AN_ANSWER = {"id": "x", "created": 0, "model": MODEL}
_OF_A_CHUNK = {**OF_AN_ANSWER, "object": "chat.completion.chunk"}


def _event(values: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(values)}\n\n".encode()


class _Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces. None: the connection breaks."""

    def __init__(self, pieces: Iterator[bytes | None], request: httpx.Request) -> None:
        self._pieces = pieces
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if piece is None:
                raise httpx.ReadError("the connection broke", request=self._request)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            await asyncio.sleep(0)
            yield piece
