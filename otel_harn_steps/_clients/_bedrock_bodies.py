"""The bodies of AWS's answers: streams of events, and bodies that can be read once. The app reads the same bytes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from http.client import IncompleteRead
from typing import Any

import wrapt

from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._calls.raw_bodies import decoded
from otel_harn_steps._calls.streams import watched_events, watched_events_async
from otel_harn_steps._guard import guard
from otel_harn_steps._patching.proxies import Copied

_CHUNK_BYTES = 65536


def watch_events(stream: Any, meter: Meter) -> None:
    """Bill the call when the app has read `stream`, or left it."""
    # Below the parser, where botocore and aiobotocore are alike; the app holds the client's own object.
    inner = stream._event_generator
    stream._event_generator = (
        watched_events_async(inner, meter) if hasattr(inner, "__anext__") else watched_events(inner, meter)
    )
    meter.http_response = stream._raw_stream  # closing what reads it leaves it open where that is asynchronous
    stream._raw_stream = _Closing(stream._raw_stream, meter)
    meter.stream_opened()


class _Closing(Copied, wrapt.ObjectProxy):  # type: ignore[type-arg]  # of anything
    """An HTTP response. Closing it settles the call at once: the totals are right for the rest of the step."""

    def __init__(self, response: Any, meter: Meter) -> None:
        super().__init__(response)
        self._self_meter = meter

    def close(self) -> Any:
        self._self_meter.settle()
        return self.__wrapped__.close()


# -- a body that is read at once ---------------------------------------------------------------------------------------


def put_back(body: Any) -> bytes:
    """What `body` holds. It can be read again by the app, as if it had not been read."""
    raw = body._raw_stream
    data, error = b"", None
    try:
        data = raw.read()
    except Exception as broken:  # noqa: BLE001 -- the app's to see, where it reads
        error = broken
        # A connection that was cut: who reads in pieces gets what came, and then the end.
        data = next((each.partial for each in broken.args if isinstance(each, IncompleteRead)), b"")
    body._raw_stream = _Replayed(data, raw, error)
    return data


class _Replayed(io.BytesIO):
    """Bytes that have been read, in place of the response that they came from."""

    def __init__(self, data: bytes, response: Any, error: Exception | None) -> None:
        super().__init__(data)
        self._response = response
        self._error = error

    def read(self, amt: int | None = None, *_: object, **__: object) -> bytes:
        if self._error is not None and (amt is None or not self.getbuffer()):
            raise self._error
        return super().read(amt)

    def stream(self, amt: int | None = None, *_: object, **__: object) -> Iterator[bytes]:
        while chunk := self.read(amt or _CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._response.close()
        super().close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


# -- a body that only an event loop can read ---------------------------------------------------------------------------


def is_async_body(body: Any) -> bool:
    """Whether it is one of aiobotocore's bodies."""
    return hasattr(type(body), "__anext__") and hasattr(body, "_raw_stream")


def watch_async_body(body: Any, meter: Meter, headers_report: dict[str, Any]) -> None:
    """Bill the call when the app has read `body`. Quiet: what is awaited here raises nothing of ours.

    Headers alone are not enough: they leave out what came from a cache.
    """
    body._raw_stream = _WatchedResponse(body._raw_stream, meter, headers_report)
    meter.stream_opened()


class _WatchedResponse(Copied, wrapt.ObjectProxy):  # type: ignore[type-arg]  # of anything
    """An HTTP response of aiohttp, read by its `content`, or of httpx, read by `aiter_raw`."""

    def __init__(self, response: Any, meter: Meter, headers_report: dict[str, Any]) -> None:
        super().__init__(response)
        self._self_meter = meter
        self._self_headers_report = headers_report
        self._self_data = bytearray()

    @property
    def content(self) -> Any:
        return _WatchedContent(self.__wrapped__.content, self)

    async def aiter_raw(self, *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        async for chunk in self.__wrapped__.aiter_raw(*args, **kwargs):
            self._self_feed(chunk, is_last=False)
            yield chunk
        self._self_feed(b"", is_last=True)

    def _self_feed(self, chunk: bytes, *, is_last: bool) -> None:
        with guard("reading a response body"):
            self._self_data += chunk
            if is_last:
                body = decoded(bytes(self._self_data))
                self._self_meter.observe({"headers": self._self_headers_report, "body": body})
                self._self_meter.settle()


class _WatchedContent(Copied, wrapt.ObjectProxy):  # type: ignore[type-arg]  # of anything
    def __init__(self, content: Any, response: _WatchedResponse) -> None:
        super().__init__(content)
        self._self_response = response

    async def read(self, *args: Any, **kwargs: Any) -> bytes:
        chunk: bytes = await self.__wrapped__.read(*args, **kwargs)
        self._self_response._self_feed(chunk, is_last=self.__wrapped__.at_eof())
        return chunk
