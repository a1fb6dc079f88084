"""Failed requests: whether one may have been answered, and billed, without anybody having seen the answer."""

from __future__ import annotations

from typing import Final

# By name: which HTTP library a client uses, and which of its errors it shows, differs between versions of the client.
_IN_TRANSIT: Final = frozenset(
    {
        "APIConnectionError",  # openai, anthropic and their like
        "ChunkedEncodingError",  # requests
        "ClientPayloadError",  # aiohttp
        "IncompleteRead",  # http.client, urllib3
        "NoResponseError",  # mistralai, google-genai
        "ReadTimeout",  # requests, httpx
        "ServerConnectionError",  # aiohttp
        "TimeoutError",
        "TransportError",  # httpx
        "UnknownApiResponseError",  # google-genai, of an answer that is not JSON
    }
)
# A request that failed by one of these never left.
_NEVER_SENT: Final = frozenset(
    {
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionTimeoutError",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)
_LONGEST_CHAIN: Final = 8


def was_sent(error: BaseException) -> bool:
    """Whether the request that failed with `error` may have been answered, and billed, without us knowing."""
    if not isinstance(error, Exception):  # cancelled or interrupted while the provider was at work
        return True
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 200 <= status < 300:  # answered, and not in a form that the client knows
        return True
    names = {each.__name__ for link in _chain(error) for each in type(link).__mro__}
    return bool(names & _IN_TRANSIT) and not names & _NEVER_SENT


def _chain(error: BaseException) -> list[BaseException]:
    links = [error]
    while links[-1].__cause__ is not None and len(links) < _LONGEST_CHAIN:
        links.append(links[-1].__cause__)
    return links
