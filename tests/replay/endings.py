"""Every way an app can leave a stream before its end. Each takes one event where it takes any."""

from __future__ import annotations

import asyncio
import gc

from otel_harn_steps.testing._modes import Mode
from otel_harn_steps.testing._seen import Seen
from tests.replay.ways import Call, Way, has


class CallersOwnError(Exception):
    """What an app's own code raises between two events."""


async def breaks(call: Call, seen: Seen) -> None:
    await _one_of(await call.make(call.method), call, seen)


async def breaks_and_keeps(call: Call, seen: Seen) -> None:
    stream = await call.make(call.method)
    seen.kept.append(stream)
    await _one_of(stream, call, seen)


async def breaks_and_closes(call: Call, seen: Seen) -> None:
    stream = await call.make(call.method)
    await _one_of(stream, call, seen)
    seen.note("close", await call.mode.settle(stream.close()))
    seen.note("closed", stream.response.is_closed)


async def closes_twice(call: Call, seen: Seen) -> None:
    stream = await call.make(call.method)
    seen.note("close", await call.mode.settle(stream.close()))
    seen.note("close", await call.mode.settle(stream.close()))


async def leaves_with(call: Call, seen: Seen) -> None:
    async with call.mode.entered(await call.make(call.method)) as stream:
        await _one_of(stream, call, seen)
    seen.note("closed", stream.response.is_closed)


async def raises_between_events(call: Call, seen: Seen) -> None:
    async for event in call.mode.each(await call.make(call.method)):
        seen.note("event", event)
        raise CallersOwnError


async def raises_in_with(call: Call, seen: Seen) -> None:
    async with call.mode.entered(await call.make(call.method)) as stream:
        await _one_of(stream, call, seen)
        raise CallersOwnError


async def drops(call: Call, seen: Seen) -> None:
    _spare_what_is_here()
    stream = await call.make(call.method)
    seen.note("event", await call.mode.pull(stream))
    del stream
    await _collect(call.mode)


async def never_reads(call: Call, seen: Seen) -> None:
    _spare_what_is_here()
    seen.stream(await call.make(call.method))
    await _collect(call.mode)


async def never_parses(call: Call, seen: Seen) -> None:
    _spare_what_is_here()
    seen.response(await call.make(call.raw))
    await _collect(call.mode)


async def never_reads_response(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.streaming)) as response:
        seen.response(response)
    seen.note("closed", response.is_closed)


async def helper_leaves(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        await _one_of(stream, call, seen)


async def helper_never_reads(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        seen.stream(stream)


async def helper_raises(call: Call, seen: Seen) -> None:
    async with call.mode.entered(call.request(call.resource.stream, without=["stream"])) as stream:
        await _one_of(stream, call, seen)
        raise CallersOwnError


AFTER_ONE_EVENT = (
    Way("break", breaks),
    Way("break, kept", breaks_and_keeps),
    Way("close()", breaks_and_closes),
    Way("with exit", leaves_with),
    Way("caller raises", raises_between_events),
    Way("caller raises in with", raises_in_with),
    Way("dropped", drops),
    Way("stream helper, break", helper_leaves, has("stream")),
    Way("stream helper, caller raises", helper_raises, has("stream")),
)
BEFORE_ANY_EVENT = (
    Way("never read", never_reads),
    Way("closed twice", closes_twice),
    Way("raw, never parsed", never_parses),
    Way("streaming, never read", never_reads_response),
    Way("stream helper, never read", helper_never_reads, has("stream")),
)


async def _one_of(stream: object, call: Call, seen: Seen) -> None:
    async for event in call.mode.each(stream):
        seen.note("event", event)
        break


def _spare_what_is_here() -> None:
    # A collection that looks only at what comes from here on takes 1 ms; at everything, 400.
    gc.freeze()


async def _collect(mode: Mode) -> None:
    gc.collect()
    if mode.name == "async":
        await asyncio.sleep(0)  # async generators are finalised by the loop
