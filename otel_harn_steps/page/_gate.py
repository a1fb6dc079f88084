"""Who may see the page: the machine that it runs on, or who has the token."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_COOKIE: Final = "otel_harn_steps"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Gate:
    """Lets requests through to an app.

    Without a token, only those whose Host header is a loopback name: a page of another host whose name was made to
    point here (DNS rebinding) sends that name. With a token, only those that have it: as
    `Authorization: Bearer TOKEN`, or as `?token=TOKEN` in the first address, which becomes a cookie.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if self._token is None:
            if host_name(request.headers.get("host", "")) in LOOPBACK:
                return None
            return PlainTextResponse("This page answers to localhost and 127.0.0.1 only.\n", 403)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and self._is_token(given)) or self._has_cookie(request):
            return None
        asked = request.query_params.get("token")
        if asked is not None and self._is_token(asked):
            address = request.url.remove_query_params("token")
            answer = RedirectResponse(f"{address.path}{address.query and '?'}{address.query}", 303)
            answer.set_cookie(self._cookie(request), _digest(self._token), httponly=True, samesite="lax")
            return answer
        message = "This page needs its token: open the address that `otel-harn-steps serve` has printed.\n"
        return PlainTextResponse(message, 401, {"WWW-Authenticate": "Bearer"})

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _has_cookie(self, request: Request) -> bool:
        given = request.cookies.get(self._cookie(request), "")
        return self._token is not None and hmac.compare_digest(given.encode(), _digest(self._token).encode())

    def _cookie(self, request: Request) -> str:
        """The cookie's name. Cookies are for all ports of a host: two pages have two."""
        return f"{_COOKIE}_{request.url.port or 80}"


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _digest(token: str) -> str:
    return hashlib.sha256(f"otel-harn-steps {token}".encode()).hexdigest()
