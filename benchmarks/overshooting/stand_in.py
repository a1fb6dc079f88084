"""What is called: a stand-in on this machine that answers like OpenAI's chat completions, and bills for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle, islice
from threading import Lock
from typing import Any, Final

from otel_harn_steps import price
from otel_harn_steps.testing import Answer, Received, ReplayServer

OUTPUT_TOKENS: Final = 200
MOST_OUTPUT_TOKENS: Final = 256
BYTES_PER_TOKEN: Final = 4.26  # of o200k, for English
ENGLISH: Final = ("word ", "at ", "word ", "at ", "word ", "word ", "at ", "word ")  # a token each, and of that size
UNKNOWN: Final = {"model-of-tomorrow": (Decimal(15), Decimal(75))}  # dollars per million tokens, which no book knows


def text(words: int) -> str:
    """So many words, of a token each."""
    return "".join(islice(cycle(ENGLISH), words))


@dataclass(frozen=True)
class Case:
    """What the workers do.

    Attributes:
        name: in the table.
        input_tokens: of a call, as the provider bills it.
        adds: as many of them the provider adds itself: no estimate can know.
        fitting: as many calls have room in the limit.
        reads: as many events of a stream are read before the task is cancelled. None: all.
        caps: whether the calls set a maximum of output tokens.
    """

    name: str
    model: str = "gpt-4o"
    input_tokens: int = 1_000
    adds: int = 0
    fitting: int = 20
    streams: bool = False
    reads: int | None = None
    caps: bool = True
    tries_again: bool = False

    @property
    def prompt(self) -> str:
        size = round((self.input_tokens - self.adds) * BYTES_PER_TOKEN)
        return text(size)[:size]

    def usd(self, input_tokens: int, output_tokens: int) -> Decimal:
        if self.model in UNKNOWN:
            of_input, of_output = UNKNOWN[self.model]
            return (input_tokens * of_input + output_tokens * of_output) / 1_000_000
        known = price(self.model, provider="openai", input_tokens=input_tokens, output_tokens=output_tokens)
        assert known is not None
        return known

    @property
    def of_one(self) -> tuple[int, Decimal]:
        """The tokens and dollars of one call, as far as the app lets it run."""
        output = OUTPUT_TOKENS if self.reads is None else self.reads
        return self.input_tokens + output, self.usd(self.input_tokens, output)

    @property
    def limit_usd(self) -> Decimal:
        """What there is room for: as many calls as fit, and a half."""
        return self.of_one[1] * (self.fitting * 2 + 1) / 2


CASES: Final = (
    Case("plain"),
    Case("plain, no maximum set", caps=False),
    Case("stream", streams=True),
    Case("stream, no maximum set", streams=True, caps=False),
    Case("stream, cancelled after 20 events", streams=True, reads=20),
    Case("unknown price", model="model-of-tomorrow"),
    Case("300,000-token prompt", model="gpt-5.4", input_tokens=300_000, fitting=5),
    Case("prompt of which the provider adds half", adds=500),
    Case("wrapped by a loop that tries again", tries_again=True),
)


@dataclass
class Bill:
    """What the provider bills."""

    case: Case
    calls: int = 0
    tokens: int = 0
    usd: Decimal = field(default_factory=Decimal)
    streams: int = 0

    def add(self, output_tokens: int) -> None:
        self.calls += 1
        self.tokens += self.case.input_tokens + output_tokens
        self.usd += self.case.usd(self.case.input_tokens, output_tokens)


class StandIn:
    """Answers for one case at a time, always at the same address."""

    def __init__(self, server: ReplayServer) -> None:
        self._exchange = server.serve(self._answer)
        self._lock = Lock()
        self.proxy = server.address
        self.url = f"{server.address}/{self._exchange.token}/v1"
        self.url_by_proxy = self._exchange.url_at("api.openai.com") + "/v1"

    @contextmanager
    def billed(self, case: Case) -> Iterator[Bill]:
        """The bill for this case. Of a stream it only says that it was asked for: the app must say what was read."""
        self._bill = Bill(case)
        yield self._bill
        self._exchange.requests.clear()

    def _answer(self, received: Received) -> Answer:
        if received.method != "POST":  # a proxy looks around
            return Answer(404, (b"{}",))
        request = received.json()
        words = min(OUTPUT_TOKENS, request.get("max_tokens", OUTPUT_TOKENS))
        with self._lock:
            if request.get("stream"):
                self._bill.streams += 1
            else:
                self._bill.add(words)
        return answer(self._bill.case, words, streams=request.get("stream", False))


def answer(case: Case, words: int, *, streams: bool) -> Answer:
    """As many tokens as always, unless the request allows fewer."""
    total = case.input_tokens + words
    usage = {"prompt_tokens": case.input_tokens, "completion_tokens": words, "total_tokens": total}
    head = {"id": "x", "created": 1, "model": case.model}
    if streams:
        events = (b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks(head, words, usage))
        return Answer(200, (*events, b"data: [DONE]\n\n"), streamed=True, headers={"content-type": "text/event-stream"})
    message = {"role": "assistant", "content": text(words)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Answer(200, (json.dumps(whole).encode(),), headers={"content-type": "application/json"})


def chunks(head: dict[str, Any], words: int, usage: dict[str, int]) -> Iterator[dict[str, Any]]:
    head = {**head, "object": "chat.completion.chunk", "usage": None}
    for word in islice(cycle(ENGLISH), words):
        yield {**head, "choices": [{"index": 0, "delta": {"content": word}}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": usage}
