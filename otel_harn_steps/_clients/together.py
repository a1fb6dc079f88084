"""The `together` client, since its second major: before that it was not made by Stainless."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._clients.openai import OpenAIProtocol

TOGETHER: Final = OpenAIProtocol(
    "together",
    {
        "resources.chat.completions": ("CompletionsResource.create",),
        "resources.completions": ("CompletionsResource.create",),
        "resources.embeddings": ("EmbeddingsResource.create",),
    },
)
