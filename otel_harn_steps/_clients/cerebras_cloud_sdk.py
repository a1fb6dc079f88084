"""The `cerebras_cloud_sdk` client, imported as `cerebras.cloud.sdk`."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._clients.openai import OpenAIProtocol

CEREBRAS: Final = OpenAIProtocol(
    "cerebras_cloud_sdk",
    {
        "resources.chat.completions": ("CompletionsResource.create",),
        "resources.completions": ("CompletionsResource.create",),
    },
    package="cerebras.cloud.sdk",
    provider="cerebras",
)
