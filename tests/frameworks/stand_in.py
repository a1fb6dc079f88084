"""A provider that speaks OpenAI's chat completions: what it says depends on who asks, and each answer's usage is chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import Answer, Received

MODEL = "gpt-4o-mini"
USD_PER_INPUT_TOKEN = 0.15e-6
USD_PER_OUTPUT_TOKEN = 0.60e-6
HEADERS = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: a text, or the call of a tool, and the tokens it is said to have cost."""

    text: str = "done"
    input_tokens: int = 100
    output_tokens: int = 20
    tool: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def usage(self) -> dict[str, int]:
        total = self.input_tokens + self.output_tokens
        return {"prompt_tokens": self.input_tokens, "completion_tokens": self.output_tokens, "total_tokens": total}

    def message(self, number: int) -> dict[str, Any]:
        if self.tool is None:
            return {"role": "assistant", "content": self.text}
        function = {"name": self.tool, "arguments": json.dumps(self.arguments)}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    @property
    def reason(self) -> str:
        return "stop" if self.tool is None else "tool_calls"


def usd(*answers: Said) -> float:
    """What these answers cost."""
    return sum(said.input_tokens * USD_PER_INPUT_TOKEN + said.output_tokens * USD_PER_OUTPUT_TOKEN for said in answers)


class Provider:
    """Answers at `url`. Who asks is known by a word in its instructions; the last of its answers is repeated."""

    def __init__(self, server: ReplayServer) -> None:
        self._lock = Lock()
        self._scripts: dict[str, list[Said]] = {}
        self.asked: list[str] = []
        self.received: list[Received] = []
        self.url = f"{server.address}/{server.serve(self._answer).token}/v1"

    def says(self, word: str, *answers: Said) -> None:
        """Answer so to whoever has `word` in its first message."""
        self._scripts[word] = list(answers)

    def forget(self) -> None:
        """Begin again: nobody has asked yet."""
        self.asked.clear()
        self.received.clear()

    def _answer(self, received: Received) -> Answer:
        body = received.json()
        with self._lock:
            word, said = self._next(body["messages"])
            self.asked.append(word)
            self.received.append(received)
            message = said.message(len(self.asked))
        if body.get("stream"):
            asked_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return Answer(200, tuple(_events(said, message, with_usage=asked_usage)), streamed=True, headers=EVENTS)
        choice = {"index": 0, "message": message, "finish_reason": said.reason}
        whole = {**_head("chat.completion"), "choices": [choice], "usage": said.usage}
        return Answer(200, (json.dumps(whole).encode(),), headers=HEADERS)

    def _next(self, messages: Sequence[dict[str, Any]]) -> tuple[str, Said]:
        for text in (json.dumps(messages[0]), json.dumps(messages)):
            for word, script in self._scripts.items():
                if word in text:
                    return word, script.pop(0) if len(script) > 1 else script[0]
        raise AssertionError(f"this should not be asked: {messages}")


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _events(said: Said, message: dict[str, Any], *, with_usage: bool) -> list[bytes]:
    delta = dict(message)
    if said.tool is not None:
        delta["tool_calls"] = [{"index": 0, **call} for call in delta["tool_calls"]]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": said.reason}]},
    ]
    if with_usage:
        chunks.append({"choices": [], "usage": said.usage})
    whole = [json.dumps({**_head("chat.completion.chunk"), **chunk}) for chunk in chunks]
    return [f"data: {line}\n\n".encode() for line in (*whole, "[DONE]")]
