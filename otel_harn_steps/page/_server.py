"""The page, live: a small server on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_harn_steps.page._assembly import page_html, policy, version
from otel_harn_steps.page._csv import csv_of
from otel_harn_steps.page._diff import diff_of_runs
from otel_harn_steps.page._gate import Gate
from otel_harn_steps.page._overview import MOST_RUNS, choices, context, order_of, overview, zone
from otel_harn_steps.page._query import filter_of
from otel_harn_steps.store import JournalVersionError, Store, to_json

LOOKS_EVERY_S: Final = 1.0
_MOST_ROWS: Final = 10_000
_ALIVE_EVERY: Final = 15
"""A line that says nothing, after so many looks, so that a connection that is gone is noticed."""


class Changes:
    """Reads what is new in a store, at most so often, however many ask."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store = store
        self.every_s = every_s
        self._lock = asyncio.Lock()
        self._looked_at = -every_s
        self._count = 0

    async def look(self) -> int:
        """How often there was something new so far."""
        async with self._lock:
            if time.monotonic() - self._looked_at >= self.every_s:
                if await run_in_threadpool(self._store.update):
                    self._count += 1
                self._looked_at = time.monotonic()
            return self._count


def page_app(
    store: Store,
    *,
    token: str | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    looks_every_s: float = LOOKS_EVERY_S,
) -> ASGIApp:
    """The page and its API as an ASGI app.

    Args:
        store: what it shows. It is used from several threads.
        token: what a request needs. None: it must be for a loopback name.
        is_stopping: asked at each look while a page listens for news, so that the server can end.
        looks_every_s: how often the folder is looked at, at most, in seconds.
    """
    return Gate(Starlette(routes=_Pages(store, is_stopping, looks_every_s).routes()), token)


class _Pages:
    def __init__(self, store: Store, is_stopping: Callable[[], bool], looks_every_s: float) -> None:
        self._store = store
        self._is_stopping = is_stopping
        self._changes = Changes(store, looks_every_s)

    def routes(self) -> list[Route]:
        return [
            Route("/", self._page),
            Route("/events", self._events),
            Route("/api/overview", self._answer(self._overview)),
            Route("/api/context", self._answer(self._context)),
            Route("/api/choices", self._answer(self._choices)),
            Route("/api/report", self._answer(self._report, rows="rows")),
            Route("/api/series", self._answer(self._series, rows="series")),
            Route("/api/runs", self._answer(self._runs)),
            Route("/api/diff", self._answer(self._diff, rows="rows")),
            Route("/api/run/{name}", self._answer(self._run, rows="calls")),
        ]

    async def _page(self, _request: Request) -> Response:
        data = {"live": True, "version": version(), "zone": zone()}
        headers = {"Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'"}
        return HTMLResponse(page_html(data, title="harn steps", live=True), headers=headers)

    async def _events(self, _request: Request) -> Response:
        async def messages() -> AsyncIterator[str]:
            seen, quiet = await self._news(0), 0
            yield f"retry: 2000\nevent: page\ndata: {version()}\n\n"
            while not self._is_stopping():
                await asyncio.sleep(self._changes.every_s)
                count, quiet = await self._news(seen), quiet + 1
                if count != seen:
                    seen, quiet = count, 0
                    yield f"event: change\ndata: {count}\n\n"
                elif quiet >= _ALIVE_EVERY:
                    quiet = 0
                    yield ": alive\n\n"

        return StreamingResponse(messages(), media_type="text/event-stream")

    async def _news(self, seen: int) -> int:
        try:
            return await self._changes.look()
        except (JournalVersionError, OSError):  # whoever asks for numbers is told
            return seen

    def _answer(
        self, view: Callable[[Request], Any], rows: str | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """What serves a view as JSON, or its `rows` as CSV. None: the view is its rows."""

        async def answer(request: Request) -> Response:
            try:
                await self._changes.look()
                found = await run_in_threadpool(view, request)
            except (JournalVersionError, OSError) as error:
                return JSONResponse({"error": str(error)}, 500)
            except LookupError as error:
                return JSONResponse({"error": str(error.args[0])}, 404)
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
            if request.query_params.get("format") != "csv":
                return JSONResponse(found)
            text = csv_of(_series_rows(found) if rows == "series" else found if rows is None else found[rows])
            return PlainTextResponse(text, headers={"Content-Type": "text/csv; charset=utf-8"})

        return answer

    def _overview(self, request: Request) -> Any:
        return overview(self._store, filter_of(request.query_params), order=order_of(request.query_params.get("order")))

    def _context(self, request: Request) -> Any:
        return context(self._store, filter_of(request.query_params))

    def _choices(self, request: Request) -> Any:
        return choices(self._store, filter_of(request.query_params))

    def _report(self, request: Request) -> Any:
        return to_json(self._store.report(request.query_params.get("by", "step"), filter_of(request.query_params)))

    def _series(self, request: Request) -> Any:
        return to_json(self._store.series(request.query_params.get("by", "step"), filter_of(request.query_params)))

    def _runs(self, request: Request) -> Any:
        order = order_of(request.query_params.get("order"))
        limit = max(1, min(int(request.query_params.get("limit", MOST_RUNS)), _MOST_ROWS))
        return to_json(self._store.runs(filter_of(request.query_params), order=order, limit=limit))

    def _diff(self, request: Request) -> Any:
        names = [request.query_params.get(side, "") for side in ("a", "b")]
        return diff_of_runs(self._store, names[0], names[1])

    def _run(self, request: Request) -> Any:
        return {"now": time.time_ns(), **to_json(self._store.run(request.path_params["name"]))}


def _series_rows(series: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"bucket": bucket, "key": key, "cost_picousd": values[index]}
        for index, bucket in enumerate(series["buckets"])
        for key, values in zip(series["keys"], series["values"], strict=True)
    ]
