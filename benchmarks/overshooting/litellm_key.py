"""What LiteLLM's proxy loads, because it has no database: who a key is, and its own logger of what calls have cost.

It would look the key up in its database, and it makes the logger part of itself only when it has one.
"""

from __future__ import annotations

from typing import Any

from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.hooks.proxy_track_cost_callback import ProxyDBLogger

spend = ProxyDBLogger()


async def user_api_key_auth(_request: Any, api_key: str) -> UserAPIKeyAuth:
    """The proxy asks this for each request. The key itself says its budget in dollars."""
    return UserAPIKeyAuth(api_key=api_key, max_budget=float(api_key.rpartition("-")[2]))
