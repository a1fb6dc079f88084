"""The HTTP library that a client sends through: not the same in all of its versions."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


def http_library(client: Any) -> ModuleType:
    """`httpx` or `httpx2`, for the module of a client that Stainless has made (`openai`, `anthropic`)."""
    return import_module(client.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


def answering(client: Any, body: bytes, content_type: str) -> Any:
    """A client of that library whose every request is answered with `body`."""
    library, headers = http_library(client), {"content-type": content_type}
    return library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, headers=headers, content=body))
    )
