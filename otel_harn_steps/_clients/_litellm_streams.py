"""litellm's streams. One class serves `for` and `async for`, and keeps what the provider has sent in `chunks`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import wrapt

from otel_harn_steps._calls.fields import count, field
from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.streams import watched_events, watched_events_async
from otel_harn_steps._clients._shared.openai_usage import merged_usage, with_counts
from otel_harn_steps._patching.proxies import Copied

_INPUT: Final = ("prompt_tokens", "prompt_tokens_details", "cache_read_input_tokens", "cache_creation_input_tokens")
_FIELDS: Final = ("model", "id", "usage", "service_tier", "choices")


@dataclass(frozen=True)
class StreamedSoFar:
    """What a stream has reported so far, and the text that its last chunk brought.

    `is_start`: what it has reported is by its first chunk alone.
    """

    model: Any
    id: Any
    usage: Any
    service_tier: Any
    choices: Any
    is_start: bool = False

    def then(self, later: StreamedSoFar) -> StreamedSoFar:
        """What it has reported with one more chunk."""
        usage = self.usage
        if later.usage is not None:
            usage = merged_usage(usage, later.usage)
            if count(usage, "prompt_tokens") < count(self.usage, "prompt_tokens"):
                # It adds up caches that it remembers and the input of Anthropic's last event, where that may be 0.
                usage = with_counts(usage, {name: field(self.usage, name) for name in _INPUT})
        return StreamedSoFar(
            later.model or self.model,
            later.id or self.id,
            usage,
            later.service_tier or self.service_tier,
            later.choices,
            is_start=self.is_start and later.usage is None,
        )


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
            model, chunk_id, usage, tier, choices = (getattr(chunk, each, None) for each in _FIELDS)
            self._meter.observe(StreamedSoFar(model, chunk_id, usage, tier, choices, self._seen == 0))
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

    def close(self) -> None:
        """Close the stream: what it reads from itself, for versions in which it cannot be closed."""
        source = field(self._stream, "completion_stream.streaming_response")
        for each in (self._stream, source):
            close = getattr(each, "close", None)
            if close is not None:
                close()

    async def aclose(self) -> None:
        """As `close`."""
        source = field(self._stream, "completion_stream.streaming_response")
        for each in (self._stream, source):
            close = getattr(each, "aclose", None)
            if close is not None:
                await close()


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
            self._self_events = watched_events(self._self_observed, self._self_meter)
        return next(self._self_events)

    async def __anext__(self) -> Any:
        if self._self_events is None:
            self._self_events = watched_events_async(self._self_observed, self._self_meter)
        return await anext(self._self_events)

    def close(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return self.__wrapped__.close()

    async def aclose(self) -> Any:
        """Settle and close."""
        self._self_meter.settle()
        return await self.__wrapped__.aclose()
