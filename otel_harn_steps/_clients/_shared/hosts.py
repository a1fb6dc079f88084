"""The host that a client's requests go to, from its base URL."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit


def host_in(url: object) -> str | None:
    """The host of a URL that a client holds as text, or as an object with a `host`. None where there is none."""
    if isinstance(url, str):
        return _host_in(url)
    host = getattr(url, "host", None)
    return host if isinstance(host, str) and host else None


@lru_cache(maxsize=256)
def _host_in(url: str) -> str | None:
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
