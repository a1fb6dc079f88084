"""What the server says: a recorded answer, whole or cut, or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_harn_steps.testing._cases import RecordedCase

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)
_LINE = re.compile(rb".*?\n|.+$", re.DOTALL)
_AWS_PIECE_BYTES = 300


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body of the request."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. A streamed one is sent chunk by chunk, any other with a content length."""

    status: int
    chunks: tuple[bytes, ...]
    streamed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """The connection is cut after this many chunks."""
    paced: bool = False
    """Each chunk waits until the test allows it (`Exchange.allow`)."""
    held: bool = False
    """The last chunk is never sent: the server waits until the client has gone (`Exchange.was_left`)."""


Script = Callable[[Received], Answer]
"""An answer that depends on the request."""


def answer_of(
    case: RecordedCase, chunks: Sequence[bytes] | None = None, *, cut_after: int | None = None, paced: bool = False
) -> Answer:
    """The recorded answer. Cut, a plain body ends in its middle (`cut_after=1`), a stream after that many events."""
    return Answer(
        status=case.status,
        chunks=tuple(chunks_of(case) if chunks is None else chunks),
        streamed=case.stream,
        headers={**case.headers, "content-type": case.content_type},
        cut_after=cut_after,
        paced=paced,
    )


def error(status: int, message: str) -> Answer:
    """An error in the shape that most protocols understand, to be retried at once where the client retries."""
    body = {"type": "error", "error": {"type": "replayed_error", "message": message, "code": None, "param": None}}
    return Answer(
        status=status,
        chunks=(json.dumps(body).encode(),),
        headers={"content-type": "application/json", "retry-after-ms": "1"},
    )


def chunks_of(case: RecordedCase) -> Sequence[bytes]:
    """The body in the pieces that it is sent in."""
    return events_of(case) if case.stream else halves(case.body)


def halves(body: bytes) -> tuple[bytes, bytes]:
    """A plain body in two pieces, to be cut between them."""
    half = len(body) // 2
    return body[:half], body[half:]


def events_of(case: RecordedCase) -> tuple[bytes, ...]:
    """The recorded stream, one event a piece; AWS event streams in pieces of a few hundred bytes."""
    if case.content_type.startswith("application/vnd.amazon.eventstream"):
        starts = range(0, len(case.body), _AWS_PIECE_BYTES)
        return tuple(case.body[start : start + _AWS_PIECE_BYTES] for start in starts)
    if case.content_type.startswith("text/event-stream"):
        return _pieces(_EVENT, case.body)
    return _pieces(_LINE, case.body)  # JSON lines


def _pieces(pattern: re.Pattern[bytes], body: bytes) -> tuple[bytes, ...]:
    pieces = pattern.findall(body)
    rest = body[sum(map(len, pieces)) :]
    return (*pieces, rest) if rest else tuple(pieces)
