"""Every way an app can make a recorded call, written once for sync and async.

A way makes the call with the client's own methods and notes all it gets to see.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from otel_harn_steps.testing._modes import SYNC, Mode
from otel_harn_steps.testing._seen import Seen
from tests.replay.cases import Case
from tests.replay.clients import Clients, method_of, resource_of

FINAL = ("get_final_completion", "get_final_response", "get_final_message")
"""How the stream helpers call what the whole stream amounts to."""

READS_BYTES = frozenset({"streaming.read", "streaming.iter_lines", "streaming.iter_bytes"})
"""Ways to read a stream in which the app gets its bytes and not its events."""


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded request, about to be made by a real client."""

    case: Case
    client: Any
    mode: Mode

    @property
    def resource(self) -> Any:
        return resource_of(self.client, self.case)

    @property
    def method(self) -> Any:
        return getattr(self.resource, method_of(self.case))

    @property
    def raw(self) -> Any:
        return getattr(self.resource.with_raw_response, method_of(self.case))

    @property
    def streaming(self) -> Any:
        return getattr(self.resource.with_streaming_response, method_of(self.case))

    def request(self, method: Any, *, without: Iterable[str] = (), **more: Any) -> Any:
        """Call the method with the recorded request and hand back what it returns: a value, an awaitable or a manager."""
        return method(**_arguments(method, {**self.case.request, **more}, frozenset(without)))

    async def make(self, method: Any, *, without: Iterable[str] = (), **more: Any) -> Any:
        """`request`, awaited where it must be."""
        return await self.mode.settle(self.request(method, without=without, **more))


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a call."""

    name: str
    go: Callable[[Call, Seen], Awaitable[None]]
    needs: Callable[[Any], object] = lambda resource: resource is not None
    """Tells by looking whether this client has the way."""

    async def run(self, call: Call, seen: Seen) -> None:
        """Make the call and note what is seen, the exception it ends with included."""
        try:
            await self.go(call, seen)
        except Exception as error:  # noqa: BLE001 -- whatever the app would get, it is noted
            seen.raised(error)


async def create(call: Call, seen: Seen) -> None:
    seen.note("value", await call.make(call.method))


async def parse(call: Call, seen: Seen) -> None:
    seen.note("value", await call.make(call.resource.parse, without=["stream"]))


async def post(call: Call, seen: Seen) -> None:
    seen.note(
        "value",
        await call.mode.settle(call.client.post(f"/{_path(call.case)}", cast_to=object, body=dict(call.case.request))),
    )


async def raw(call: Call, seen: Seen) -> None:
    await _parsed_twice(await call.make(call.raw), call, seen)


async def raw_parse(call: Call, seen: Seen) -> None:
    await _parsed_twice(await call.make(call.resource.with_raw_response.parse, without=["stream"]), call, seen)


async def raw_unparsed(call: Call, seen: Seen) -> None:
    response = await call.make(call.raw)
    seen.response(response)
    seen.note("json", response.http_response.json())


async def streaming_parse(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.streaming)) as response:
        await _parsed_twice(response, call, seen)
    seen.note("closed", response.is_closed)


def streaming_whole(reader: str) -> Way:
    """Read the whole body of a streamed response at once, with `read`, `text` or `json`."""

    async def go(call: Call, seen: Seen) -> None:
        async with call.mode.entered(call.request(call.streaming)) as response:
            seen.response(response)
            seen.note(reader, await call.mode.settle(getattr(response, reader)()))
        seen.note("closed", response.is_closed)

    return Way(f"streaming.{reader}", go)


def streaming_pieces(reader: str) -> Way:
    """Read the body of a streamed response piece by piece, with `iter_lines`, `iter_text` or `iter_bytes`.

    Where bytes are cut is up to the network, so what counts is their sum.
    """

    async def go(call: Call, seen: Seen) -> None:
        async with call.mode.entered(call.request(call.streaming)) as response:
            seen.response(response)
            pieces = [piece async for piece in call.mode.each(getattr(response, reader)())]
            seen.note(reader, pieces if reader == "iter_lines" else pieces[0][:0].join(pieces))
        seen.note("closed", response.is_closed)

    return Way(f"streaming.{reader}", go)


async def stream_for(call: Call, seen: Seen) -> None:
    await _all_events(await call.make(call.method), call, seen)


async def stream_next(call: Call, seen: Seen) -> None:
    stream = await call.make(call.method)
    try:
        while True:
            seen.note("event", await call.mode.pull(stream))
    except StopAsyncIteration:
        seen.note("end", None)


async def stream_with(call: Call, seen: Seen) -> None:
    async with call.mode.entered(await call.make(call.method)) as stream:
        await _all_events(stream, call, seen)


async def raw_stream(call: Call, seen: Seen) -> None:
    response = await call.make(call.raw)
    seen.response(response)
    await _all_events(await call.mode.settle(response.parse()), call, seen)


async def streaming_parse_stream(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.streaming)) as response:
        seen.response(response)
        await _all_events(await call.mode.settle(response.parse()), call, seen)
    seen.note("closed", response.is_closed)


async def helper_events(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        await _all_events(stream, call, seen)
        await _final(stream, call, seen)


async def helper_final(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        await _final(stream, call, seen)


async def helper_text(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        seen.note("text", [text async for text in call.mode.each(stream.text_stream)])


async def helper_until_done(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        seen.note("done", type(await call.mode.settle(stream.until_done())))


def has(*names: str) -> Callable[[Any], bool]:
    """A look at whether the resource has these methods."""
    return lambda resource: all(hasattr(resource, name) for name in names)


_PLAIN = (
    Way("create", create),
    Way("parse", parse, has("parse")),
    Way("post", post),
    Way("raw", raw),
    Way(
        "raw.parse",
        raw_parse,
        lambda resource: hasattr(resource, "parse") and hasattr(resource.with_raw_response, "parse"),
    ),
    Way("raw.unparsed", raw_unparsed),
    Way("streaming.parse", streaming_parse),
    *map(streaming_whole, ("json", "read", "text")),
    *map(streaming_pieces, ("iter_lines", "iter_text", "iter_bytes")),
)
_STREAM = (
    Way("create.for", stream_for),
    Way("create.next", stream_next),
    Way("create.with", stream_with),
    Way("raw.parse", raw_stream),
    Way("streaming.parse", streaming_parse_stream),
    Way("streaming.read", streaming_whole("read").go),
    *map(streaming_pieces, ("iter_lines", "iter_bytes")),
    Way("stream.events", helper_events, has("stream")),
    Way("stream.final", helper_final, has("stream")),
    Way("stream.until_done", helper_until_done, has("stream")),
)
_TEXT_STREAM = Way("stream.text", helper_text, has("stream"))


@cache
def ways_of(case: Case) -> tuple[Way, ...]:
    """The ways the installed client has for this case. None for a method it no longer has."""
    resource = resource_of(_looked_at().for_case(case, f"http://{case.host}"), case)
    if resource is None:
        return ()
    return tuple(way for way in _ways_to_try(case) if way.needs(resource))


def _ways_to_try(case: Case) -> tuple[Way, ...]:
    if case.endpoint == "count_tokens":
        return tuple(way for way in _PLAIN if way.name not in {"parse", "raw.parse"})
    if case.stream and case.client == "anthropic":
        return (*_STREAM, _TEXT_STREAM)
    return _STREAM if case.stream else _PLAIN


def way(case: Case, name: str) -> Way:
    """The way of this name, for this case."""
    return next(way for way in ways_of(case) if way.name == name)


@cache
def _looked_at() -> Clients:
    return Clients(SYNC, "http://127.0.0.1:9")


def _path(case: Case) -> str:
    return {
        "chat.completions": "chat/completions",
        "messages": "v1/messages",
        "beta.messages": "v1/messages?beta=true",
        "count_tokens": "v1/messages/count_tokens",
        "complete": "v1/complete",
    }.get(case.endpoint, case.endpoint)


def _arguments(method: Any, request: Mapping[str, Any], without: frozenset[str]) -> dict[str, Any]:
    """The request as arguments of the method. What its signature does not know travels in `extra_body`, as an app would send it."""
    known = inspect.signature(method).parameters
    wanted = {name: value for name, value in request.items() if name not in without}
    extra = {name: value for name, value in wanted.items() if name not in known}
    named = {name: value for name, value in wanted.items() if name in known}
    return {**named, "extra_body": extra} if extra else named


async def _parsed_twice(response: Any, call: Call, seen: Seen) -> None:
    seen.response(response)
    value = await call.mode.settle(response.parse())
    seen.note("value", value)
    seen.note("same again", value is await call.mode.settle(response.parse()))


async def _all_events(stream: Any, call: Call, seen: Seen) -> None:
    seen.stream(stream)
    async for event in call.mode.each(stream):
        seen.note("event", event)
    seen.note("closed", getattr(getattr(stream, "response", None), "is_closed", None))


async def _final(stream: Any, call: Call, seen: Seen) -> None:
    for name in FINAL:
        if hasattr(stream, name):
            seen.note(name, await call.mode.settle(getattr(stream, name)()))
