"""The `groq` client."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._providers.openai import OpenAIProtocol

GROQ: Final = OpenAIProtocol(
    "groq", {"chat.completions": ("Completions.create",), "embeddings": ("Embeddings.create",)}
)
