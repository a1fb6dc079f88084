"""What each client library is: one small file a provider, for the one engine."""

from __future__ import annotations

from otel_harn_steps._providers.anthropic import ANTHROPIC
from otel_harn_steps._providers.openai import OPENAI
from otel_harn_steps._reading import Provider

PROVIDERS: tuple[Provider, ...] = (OPENAI, ANTHROPIC)
"""Every client library that `instrument()` patches."""
