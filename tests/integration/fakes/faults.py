"""The fakes' faults: how each fake is made to behave, and the calls that are made while it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.integration.fakes.aimock import AIMock
from tests.integration.fakes.llmock import LLMock

Behaviors = Sequence[Mapping[str, Any]]


class Fake(Protocol):
    """A fake whose behaviour can be set, and which reports what it was sent."""

    def behave(self, behaviors: Behaviors) -> None:
        """Forget what was sent and set before; behave so."""

    def sent(self) -> list[Any]:
        """Path and status of each request since."""


def fake_at(name: str, url: str) -> Fake:
    """The running fake of this name."""
    fakes: dict[str, type[AIMock | LLMock]] = {"aimock": AIMock, "llmock": LLMock}
    return fakes[name](url)


def call(
    name: str, *behaviors: Mapping[str, Any], stream: bool = False, text: str = "hello", retries: int = 0
) -> dict[str, Any]:
    """One call of each client, while the fake behaves so."""
    return {"name": name, "behaviors": behaviors, "stream": stream, "text": text, "retries": retries}


def _fail(status: int, **more: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, "times": None, **more}


def _broken(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": 3, **more}


SOON_S = 0.01
RATE_LIMITED = _fail(429, retry_after=SOON_S)

LLMOCK_CALLS = [
    *(
        call(*each, stream=stream)
        for stream in (False, True)
        for each in (
            ("whole",),
            *((str(status), _fail(status)) for status in (400, 401, 404, 422)),
            ("429", RATE_LIMITED),
            ("500", _fail(500, retry_after=SOON_S)),
            ("503", _fail(503, retry_after=SOON_S)),
            ("529", _fail(529, retry_after=SOON_S)),
            ("slow", {"type": "delay", "seconds": SOON_S}),
        )
    ),
    *(
        call(name, fault, stream=stream, retries=2)
        for stream in (False, True)
        for name, fault in (("429 again", RATE_LIMITED), ("429 once", {**RATE_LIMITED, "times": 1}))
    ),
    call("slow first token", {"type": "slow_first_token", "seconds": SOON_S}, stream=True),
    call("disconnect", _broken("disconnect"), stream=True),
    call("truncate", _broken("truncate"), stream=True),
    call("malformed", _broken("malformed"), stream=True),
    call("stall", _broken("stall", stall_seconds=SOON_S), stream=True),
]

AIMOCK_CALLS = [
    *(
        call(*each, stream=stream)
        for stream in (False, True)
        for each in (
            ("whole",),
            *((kind, {f"{kind}Rate": 1.0}) for kind in ("malformed", "disconnect", "rateLimit", "drop")),
        )
    ),
    *(
        call(str(status), stream=stream, text=f"fail {status}")
        for status in (400, 429, 503)
        for stream in (False, True)
    ),
    call("truncateAfterChunks", stream=True, text="truncated"),
    call("disconnectAfterMs", stream=True, text="cut off"),
]
