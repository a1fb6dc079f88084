"""litellm's streams. One class serves `for` and `async for`, and keeps what the provider has sent in `chunks`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import wrapt

from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.streams import watched_events, watched_events_async
from otel_harn_steps._patching.proxies import Copied


@dataclass(frozen=True)
class StreamedSoFar:
    """What a stream has reported so far, and the text that its last chunk brought."""

    model: Any
    id: Any
    usage: Any
    service_tier: Any
    choices: Any


def watched_stream(stream: Any, meter: Meter) -> Any:
    """The replacement for `stream`: the call is billed when the app has read it, or left it."""
    meter.stream_opened()
    return _WatchedStream(stream, meter)


class _Observed:
    """Observes what the provider has sent, as the app reads on."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter
        self._seen = 0

    def look(self) -> None:
        chunks = self._stream.chunks
        for chunk in chunks[self._seen :]:
            self._meter.observe(
                StreamedSoFar(
                    *(getattr(chunk, each, None) for each in ("model", "id", "usage", "service_tier", "choices"))
                )
            )
            self._seen += 1

    def __iter__(self) -> Iterator[Any]:
        try:
            for event in self._stream:
                self.look()
                yield event
        finally:
            self.look()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for event in self._stream:
                self.look()
                yield event
        finally:
            self.look()


class _WatchedStream(Copied, wrapt.ObjectProxy):  # type: ignore[type-arg]  # of anything
    def __init__(self, stream: Any, meter: Meter) -> None:
        super().__init__(stream)
        self._self_meter = meter
        self._self_observed = _Observed(stream, meter)
        self._self_events: Any = None

    def __iter__(self) -> Any:
        return self

    def __aiter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._self_events is None:
            self._self_events = watched_events(iter(self._self_observed), self._self_meter)
        return next(self._self_events)

    async def __anext__(self) -> Any:
        if self._self_events is None:
            self._self_events = watched_events_async(aiter(self._self_observed), self._self_meter)
        return await anext(self._self_events)

    def close(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return self.__wrapped__.close()

    async def aclose(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return await self.__wrapped__.aclose()
