"""Requests to models that no patched client made: counted and named, so that it is known what is not known.

The lowest common method of each HTTP library is wrapped to look at a request's method, host and path. Nothing else of
it is read, and nothing is changed. Websockets, gRPC and `urllib.request` are not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from otel_harn_steps._calls.meter import current_meter
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.model_requests import is_model_host, model_path
from otel_harn_steps._instrument.unseen_counts import count_unseen
from otel_harn_steps._patching.frames import passed_over
from otel_harn_steps._patching.patcher import Patcher, owner_in
from otel_harn_steps._patching.wrappers import Wrapper
from otel_harn_steps._steps.active import current_account

_LOOKING_AT_REQUEST = guard("looking at an HTTP request")
_SEAMS: Final = "otel_harn_steps._calls."
_is_counted: ContextVar[bool] = ContextVar("otel_harn_steps.is_counted", default=False)
"""Whether a library above has counted the request: requests is built on urllib3, and redirects and retries nest."""


# -- the libraries -----------------------------------------------------------------------------------------------------

_Address = tuple[str, str]
"""Host and path of a request."""
_Reader = Callable[[Any, tuple[Any, ...], dict[str, Any]], _Address | None]
"""The address of a POST to a model host, from the arguments of a library's method. None for every other request."""


def _httpx_address(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Address | None:
    request = _argument(args, kwargs, 0, "request")
    if request is None or request.method != "POST":
        return None
    host = request.url.host
    return (host, request.url.path) if is_model_host(host) else None


def _aiohttp_address(session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Address | None:
    if str(_argument(args, kwargs, 0, "method")).upper() != "POST":
        return None
    url = session._build_url(_argument(args, kwargs, 1, "str_or_url"))  # with the base URL of the session
    host = url.host or ""
    return (host, url.path) if is_model_host(host) else None


def _requests_address(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Address | None:
    request = _argument(args, kwargs, 0, "request")
    return None if request is None or request.method != "POST" else _address_in(request.url)


def _urllib3_address(pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Address | None:
    if str(_argument(args, kwargs, 0, "method")).upper() != "POST":
        return None
    url = str(_argument(args, kwargs, 1, "url"))
    if "://" in url:  # as a proxy needs it, whose host is then the pool's
        return _address_in(url)
    host = str(getattr(pool, "host", "")).lower()
    return (host, url) if is_model_host(host) else None


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def _address_in(url: str) -> _Address | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (host, parts.path) if is_model_host(host) else None


class _Library(NamedTuple):
    """A method that sends requests, and how to read them."""

    module: str
    target: str
    address_of: _Reader
    is_async: bool = False

    @property
    def name(self) -> str:
        return self.module.partition(".")[0]


_LIBRARIES: Final = (
    _Library("httpx", "Client.send", _httpx_address),
    _Library("httpx", "AsyncClient.send", _httpx_address, is_async=True),
    _Library("httpx2", "Client.send", _httpx_address),
    _Library("httpx2", "AsyncClient.send", _httpx_address, is_async=True),
    _Library("aiohttp", "ClientSession._request", _aiohttp_address, is_async=True),
    _Library("requests", "Session.send", _requests_address),
    # It follows redirects, each of which is a request of a pool below.
    _Library("urllib3.poolmanager", "PoolManager.urlopen", _urllib3_address),
    _Library("urllib3.connectionpool", "HTTPConnectionPool.urlopen", _urllib3_address),
)


def patch_library(patcher: Patcher, module: ModuleType) -> None:
    """Look at the requests of the HTTP library that this module is of."""
    for library in _LIBRARIES:
        owner = owner_in(module, library.target) if library.module == module.__name__ else None
        if owner is not None:
            patcher.wrap(owner, library.target.rpartition(".")[2], _wrapper_for(library))


def _wrapper_for(library: _Library) -> Wrapper:
    def send(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_unseen_call(library, instance, args, kwargs):
            return wrapped(*args, **kwargs)
        if library.is_async:
            return _send_counted_async(wrapped, args, kwargs)
        token = _is_counted.set(True)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _is_counted.reset(token)

    return send


@passed_over
async def _send_counted_async(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = _is_counted.set(True)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _is_counted.reset(token)


# -- what counts -------------------------------------------------------------------------------------------------------


def _is_unseen_call(library: _Library, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a request is a call that no patched client makes. Then it is counted."""
    with _LOOKING_AT_REQUEST:
        try:
            address = library.address_of(instance, args, kwargs)
        except ValueError:  # no URL, as the library will say itself
            return False
        if address is None or _is_counted.get():
            return False
        host, path = address
        end = model_path(path)
        if end is None or current_meter() is not None or (not _is_billed_here() and _is_below_a_seam()):
            return False
        count_unseen(host, end, library.name)
        return True
    return False


def _is_billed_here() -> bool:
    """Whether calls of patched clients get a meter here. Where nothing is billed, our wrappers let them pass."""
    return current_account() is not None


def _is_below_a_seam() -> bool:
    """Whether one of our wrappers of a client has called what runs now. Looked for only where a request would count."""
    frame = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_SEAMS):
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom
    return False
