"""A provider that speaks OpenAI's Responses API: follows the script of a program, and notes the usage that it sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from otel_harn_steps.testing import Answer, Received, ReplayServer

MODEL = "gpt-4o-mini-2024-07-18"


@dataclass(frozen=True, slots=True)
class Says:
    """One answer: a text, or the call of a tool."""

    text: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def item(self, number: int) -> dict[str, Any]:
        if self.tool is not None:
            call = {"call_id": f"call_{number}", "name": self.tool, "arguments": json.dumps(self.arguments)}
            return {"type": "function_call", "id": f"fc_{number}", "status": "completed", **call}
        content = [{"type": "output_text", "text": self.text, "annotations": []}]
        return {
            "type": "message",
            "id": f"msg_{number}",
            "role": "assistant",
            "status": "completed",
            "content": content,
        }


@dataclass(frozen=True, slots=True)
class Sent:
    """The usage of one answer."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @classmethod
    def number(cls, number: int) -> Sent:
        return cls(101 + 10 * number, 7 * number, 31 + number, number)

    def json(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


class StandIn:
    """Answers at `url`. Who asks is known by a phrase in what is asked; the last of its answers is repeated."""

    def __init__(self, server: ReplayServer, script: Mapping[str, Sequence[Says]]) -> None:
        self._lock = Lock()
        self._script = {phrase: list(answers) for phrase, answers in script.items()}
        self.sent: list[Sent] = []
        self.url = f"{server.address}/{server.serve(self._answer).token}/v1"

    def _answer(self, received: Received) -> Answer:
        asked = received.body.decode()
        with self._lock:
            answers = next(answers for phrase, answers in self._script.items() if phrase in asked)
            says = answers.pop(0) if len(answers) > 1 else answers[0]
            number = len(self.sent)
            self.sent.append(Sent.number(number))
        answer = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "model": MODEL,
            "output": [says.item(number)],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": self.sent[number].json(),
        }
        return Answer(200, (json.dumps(answer).encode(),), headers={"content-type": "application/json"})
