"""The real clients, pointed at the replay server."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import anthropic
import openai

from otel_harn_steps.testing._modes import Mode
from tests.replay.cases import Case

_TIMEOUT_S = 10.0
_AZURE_API_VERSION = "2024-10-21"
_RESOURCES = {
    "chat.completions": "chat.completions",
    "completions": "completions",
    "responses": "responses",
    "embeddings": "embeddings",
    "messages": "messages",
    "beta.messages": "beta.messages",
    "count_tokens": "messages",
    "complete": "completions",
}
"""Where the client keeps the method that a recorded endpoint belongs to."""


class Clients:
    """The clients of one mode. They share one connection pool per library, because making one costs 30 ms."""

    def __init__(self, mode: Mode, proxy: str) -> None:
        self.mode = mode
        self._proxy = proxy

    def for_case(self, case: Case, base_url: str, *, max_retries: int = 0) -> Any:
        """The client an app would use for this case."""
        given = {"api_key": "test", "timeout": _TIMEOUT_S, "max_retries": max_retries}
        if case.client == "anthropic":
            return self._anthropic_class(base_url=base_url, http_client=self._anthropic_http, **given)
        if case.provider == "azure_openai":
            address = {"azure_endpoint": base_url, "api_version": _AZURE_API_VERSION}
            return self._azure_class(http_client=self._openai_http, **address, **given)
        return self._openai_class(base_url=base_url, http_client=self._openai_http, **given)

    def close(self) -> None:
        """Close the pools that were opened."""
        for name in ("_openai_http", "_anthropic_http"):
            pool = vars(self).get(name)
            if pool is not None:
                self.mode.run(self._close(pool))

    async def _close(self, pool: Any) -> None:
        await self.mode.settle(pool.close() if self._is_sync else pool.aclose())

    def _pool(self, make: Any) -> Any:
        return make(proxy=self._proxy, trust_env=False, verify=False)

    @property
    def _is_sync(self) -> bool:
        return self.mode.name == "sync"

    @property
    def _openai_class(self) -> Any:
        return openai.OpenAI if self._is_sync else openai.AsyncOpenAI

    @property
    def _azure_class(self) -> Any:
        return openai.AzureOpenAI if self._is_sync else openai.AsyncAzureOpenAI

    @property
    def _anthropic_class(self) -> Any:
        return anthropic.Anthropic if self._is_sync else anthropic.AsyncAnthropic

    @cached_property
    def _openai_http(self) -> Any:
        return self._pool(openai.DefaultHttpxClient if self._is_sync else openai.DefaultAsyncHttpxClient)

    @cached_property
    def _anthropic_http(self) -> Any:
        return self._pool(anthropic.DefaultHttpxClient if self._is_sync else anthropic.DefaultAsyncHttpxClient)


def resource_of(client: Any, case: Case) -> Any:
    """The part of the client that has the method for this case, e.g. `client.chat.completions`; None if this major has none."""
    resource = client
    for name in _RESOURCES[case.endpoint].split("."):
        resource = getattr(resource, name, None)
    return resource


def method_of(case: Case) -> str:
    """The name of the method that makes this case's call."""
    return "count_tokens" if case.endpoint == "count_tokens" else "create"
