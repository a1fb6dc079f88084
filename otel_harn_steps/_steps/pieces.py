"""The body of an answer that is sent piece by piece: each piece is made in the step, which is suspended in between."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from otel_harn_steps._steps.run import StepRun


class Pieces:
    """Iterates over `body` in a step that has begun and is suspended. The step ends with the body."""

    def __init__(self, run: StepRun, body: Iterable[Any]) -> None:
        self._run = run
        self._body = body
        self._pieces: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        run = self._run
        if run.is_left:
            raise StopIteration
        run.resume()
        try:
            if self._pieces is None:
                self._pieces = iter(self._body)
            piece = next(self._pieces)
        except StopIteration:
            run.leave(None).settle(None, None)
            raise
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            verdict.settle(None, None)
            raise StopIteration from None
        run.suspend()
        return piece

    def close(self) -> None:
        """Close the body, as whoever sends it does in the end. A step that has not ended yet was cancelled."""
        close = getattr(self._body, "close", None)
        if self._run.is_left:
            if close is not None:
                close()
            return
        self._run.resume()
        try:
            if close is not None:
                close()
        finally:
            self._run.leave(GeneratorExit())


class AsyncPieces:
    """As `Pieces`, for an asynchronous body."""

    def __init__(self, run: StepRun, body: AsyncIterable[Any]) -> None:
        self._run = run
        self._body = body
        self._pieces: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        run = self._run
        if run.is_left:
            raise StopAsyncIteration
        run.resume()
        try:
            if self._pieces is None:
                self._pieces = aiter(self._body)
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            run.leave(None).settle(None, None)
            raise
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            verdict.settle(None, None)
            raise StopAsyncIteration from None
        run.suspend()
        return piece

    async def aclose(self) -> None:
        """As `Pieces.close`."""
        close = getattr(self._body, "aclose", None)
        if self._run.is_left:
            if close is not None:
                await close()
            return
        self._run.resume()
        try:
            if close is not None:
                await close()
        finally:
            self._run.leave(GeneratorExit())
