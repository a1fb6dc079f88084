"""The host that a client's requests go to, and the port there, from its base URL."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit


def host_in(url: object) -> str | None:
    """The host of a URL that a client holds as text, or as an object with a `host`. None where there is none."""
    if isinstance(url, str):
        return _host_in(url)
    host = getattr(url, "host", None)
    return host if isinstance(host, str) and host else None


def port_in(url: object) -> int | None:
    """The port that such a URL names. None: that of its scheme, or it is no port."""
    if isinstance(url, str):
        return _port_in(url)
    port = getattr(url, "port", None)
    return port if isinstance(port, int) else None


@lru_cache(maxsize=256)
def _port_in(url: str) -> int | None:
    try:
        return urlsplit(url if "//" in url else f"//{url}").port
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _host_in(url: str) -> str | None:
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
