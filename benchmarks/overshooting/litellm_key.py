"""What LiteLLM's proxy is told to do with a key: it has no database to look it up. The key itself says its budget."""

from __future__ import annotations

from typing import Any


def named(name: str, limit_usd: str) -> str:
    """A key with a budget in dollars."""
    return f"sk-{name}-{limit_usd}"


async def user_api_key_auth(request: Any, api_key: str) -> Any:
    """The proxy calls this, for each request."""
    from litellm.proxy._types import UserAPIKeyAuth

    return UserAPIKeyAuth(api_key=api_key, max_budget=float(api_key.rpartition("-")[2]), models=[])
