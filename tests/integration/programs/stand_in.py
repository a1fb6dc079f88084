"""A provider that follows the script of a program, in any of the protocols, and notes the usage that it sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from otel_harn_steps.testing import Answer, Received, ReplayServer
from tests.integration.programs.protocols import PROTOCOLS

MODEL = "gpt-4o-mini-2024-07-18"


@dataclass(frozen=True, slots=True)
class Says:
    """One answer: a text, or the call of a tool."""

    text: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """The usage of one answer. Cached tokens are part of the input, reasoning tokens part of the output."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    model: str = MODEL

    @classmethod
    def number(cls, number: int, model: str = MODEL) -> Sent:
        return cls(101 + 10 * number, 7 * number, 31 + number, number, model)


class Scripted:
    """Gives the answers of a script. Who asks is known by a phrase in what is asked; the last answer is repeated."""

    def __init__(self, script: Mapping[str, Sequence[Says]], model: str = MODEL) -> None:
        self._lock = Lock()
        self._script = {phrase: list(answers) for phrase, answers in script.items()}
        self._model = model
        self.sent: list[Sent] = []
        self.without_usage: list[int] = []
        """The numbers of those in `sent` whose usage was not asked for, and so did not leave."""

    def count(self, number: int, asked: str) -> Sent:
        """The usage of the answer with this number to what is asked."""
        return Sent.number(number, self._model)

    def answer(self, received: Received) -> Answer:
        asked = received.body.decode()
        with self._lock:
            answers = next(answers for phrase, answers in self._script.items() if phrase in asked)
            says = answers.pop(0) if len(answers) > 1 else answers[0]
            number = len(self.sent)
            self.sent.append(self.count(number, asked))
        path = received.path.partition("?")[0]
        protocol = next(protocol for end, protocol in PROTOCOLS.items() if path.endswith(end))
        body = json.loads(asked)
        if not protocol.reports_usage(body):
            self.without_usage.append(number)
        return protocol.answer(says, self.sent[number], number, body)


class StandIn(Scripted):
    """Answers at `url`."""

    def __init__(self, server: ReplayServer, script: Mapping[str, Sequence[Says]]) -> None:
        super().__init__(script)
        self.url = f"{server.address}/{server.serve(self.answer).token}/v1"
