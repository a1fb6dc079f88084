"""Bodies of HTTP responses that the app reads itself, watched as they pass. Nothing is read that the app does not."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from otel_harn_steps._calls.stopping import close_stopped, close_stopped_async
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.errors import StepBudgetExceeded

if TYPE_CHECKING:
    from otel_harn_steps._calls.meter import Meter

_EVENTS_WITH_MODEL = 4
_END = b"data: [DONE]"
# What a stream of server-sent events can begin with. No JSON does.
_EVENT_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
# Every event of a chat stream that was asked for its usage has it, and only such a stream's.
_NO_USAGE = re.compile(rb',\s*"usage":\s*null(?=\s*[,}])')


def decoded(body: bytes) -> Any:
    """The JSON in `body`, None where there is none that can be read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def body_of(http_response: Any) -> bytes | None:
    """The body of a response that the client has read; never reads it."""
    body = getattr(http_response, "body", None)
    if isinstance(body, str):  # google-genai's own, always read
        return body.encode()
    if http_response is None or not getattr(http_response, "is_closed", False):
        return None
    try:
        return cast("bytes", http_response.content)
    except Exception:  # noqa: BLE001 -- the client's own "not read yet", under a name of its own in each HTTP library
        return None


def watch_body(http_response: Any, meter: Meter) -> None:
    """Bill the call when the app has read the body of `http_response` itself, in whatever way it does."""
    body = _Body(http_response.headers.get("content-type", ""), meter)
    # All of an HTTP response's ways to read pass one of these two; as attributes of this one object they shadow the
    # methods, and are gone when the body is.
    http_response.iter_bytes = _tap(ref(http_response), body, meter)
    http_response.aiter_bytes = _tap_async(ref(http_response), body, meter)
    meter.stream_opened(http_response)


def _untapped(http_response: ref[Any]) -> Any:
    held = http_response()
    for name in ("iter_bytes", "aiter_bytes"):
        vars(held).pop(name, None)
    return held


def _tap(http_response: ref[Any], body: _Body, meter: Meter) -> Callable[..., Iterator[bytes]]:
    def iter_bytes(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        held = _untapped(http_response)
        with body:
            for chunk in held.iter_bytes(*args, **kwargs):
                shown = body.feed(chunk)
                if shown:
                    yield shown
                if body.crossed is not None:
                    close_stopped(meter, held)
                    raise body.crossed
            rest = body.rest()
            if rest:
                yield rest

    return iter_bytes


def _tap_async(http_response: ref[Any], body: _Body, meter: Meter) -> Callable[..., AsyncIterator[bytes]]:
    async def aiter_bytes(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        held = _untapped(http_response)
        with body:
            async for chunk in held.aiter_bytes(*args, **kwargs):
                shown = body.feed(chunk)
                if shown:
                    yield shown
                if body.crossed is not None:
                    await close_stopped_async(meter, held)
                    raise body.crossed
            rest = body.rest()
            if rest:
                yield rest

    return aiter_bytes


def _begins_events(head: bytes) -> bool | None:
    """Whether a body that begins with `head` is a stream of server-sent events. None: too little has come to tell."""
    head = head.lstrip()
    if head.startswith(_EVENT_STARTS):
        return True
    return None if any(start.startswith(head) for start in _EVENT_STARTS) else False


class _Body:
    """A body as it passes: server-sent events are observed one by one, anything else when it is complete.

    `crossed`: the breach of the budget that stops it, to be raised once the app has what came before.
    """

    def __init__(self, content_type: str, meter: Meter) -> None:
        self._meter = meter
        # Some servers give a stream of events another content type: then the first bytes tell.
        self._is_events = True if content_type.startswith("text/event-stream") else None
        self._rest = bytearray()
        self._seen = 0
        self._drops_blank = False
        self.crossed: StepBudgetExceeded | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take in some bytes. What of them the app sees: all, but for traces of our asking for usage.

        Nothing from the event on that a budget has no room for.
        """
        shown, seen_before = chunk, len(self._rest)
        with guard("reading a response body"):
            self._rest += chunk
            if self._is_events is None:
                self._is_events = _begins_events(bytes(self._rest))
                if self._meter.asks_usage:  # held back so far
                    shown = b"" if self._is_events is None else bytes(self._rest)
            if self._is_events:
                *lines, self._rest = self._rest.splitlines(keepends=True) or [bytearray()]
                if self._rest.endswith(b"\n"):
                    lines.append(self._rest)
                    self._rest = bytearray()
                passed = b"".join(self._passing(lines))
                if self._meter.asks_usage:  # whole lines only: whether one may be seen is known at its end
                    shown = passed
                elif self.crossed is not None:
                    shown = passed[seen_before:]
        return shown

    def _passing(self, lines: Iterable[bytearray]) -> Iterator[bytes]:
        for each in lines:
            line = self._observe(bytes(each))
            if self.crossed is not None:
                return
            yield line

    def _observe(self, line: bytes) -> bytes:
        """Observe the event in a line, if there is one. The line as the app sees it."""
        if self._drops_blank and not line.strip():
            self._drops_blank = False
            return b""
        if line.startswith(_END):  # a client may read no further
            self._meter.ended_quietly()
            return line
        # The first events name the model; after them, only those that may report usage are worth decoding, unless a
        # budget counts what comes.
        is_wanted = self._seen < _EVENTS_WITH_MODEL or b"usage" in line or self._meter.counts_output
        if is_wanted and line.startswith(b"data:"):
            self._seen += 1
            event = decoded(line[5:])
            if isinstance(event, dict):
                if self._shown(event) is None:
                    self._drops_blank = True
                    return b""
                if self._meter.asks_usage:
                    return _NO_USAGE.sub(b"", line)
        return line

    def _shown(self, event: Any) -> Any:
        try:
            return self._meter.observe(event)
        except StepBudgetExceeded as crossed:
            self.crossed = crossed
            return None

    def rest(self) -> bytes:
        """What has been held back because its line never ended."""
        if self._is_events is False or not self._meter.asks_usage:
            return b""
        if self._is_events is None:
            return bytes(self._rest)
        rest, self._rest = bytes(self._rest), bytearray()
        return self._observe(rest)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        """Bill what came. Quiet, because an error raised in here would cost the app the answer that it paid for."""
        with guard("billing a response body"):
            if error is not None and not isinstance(error, GeneratorExit):
                self._meter.stream_broke(error)
            elif self._is_events or error is not None:
                self._observe(bytes(self._rest))
                self._meter.settle()
            else:
                self._meter.answered_quietly(bytes(self._rest))
