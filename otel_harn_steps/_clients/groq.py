"""The `groq` client."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._clients.openai import OpenAIProtocol

GROQ: Final = OpenAIProtocol(
    "groq", {"resources.chat.completions": ("Completions.create",), "resources.embeddings": ("Embeddings.create",)}
)
