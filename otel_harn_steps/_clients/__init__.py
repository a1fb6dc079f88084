"""What each client library is: one small file a provider, for the one engine."""

from __future__ import annotations

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._clients.anthropic import ANTHROPIC
from otel_harn_steps._clients.bedrock import BEDROCK
from otel_harn_steps._clients.cerebras_cloud_sdk import CEREBRAS
from otel_harn_steps._clients.cohere import COHERE
from otel_harn_steps._clients.google_genai import GOOGLE_GENAI
from otel_harn_steps._clients.google_interactions import GOOGLE_INTERACTIONS
from otel_harn_steps._clients.groq import GROQ
from otel_harn_steps._clients.huggingface_hub import HUGGINGFACE_HUB
from otel_harn_steps._clients.litellm import LITELLM
from otel_harn_steps._clients.lm15 import LM15
from otel_harn_steps._clients.mistralai import MISTRALAI
from otel_harn_steps._clients.ollama import OLLAMA
from otel_harn_steps._clients.openai import OPENAI
from otel_harn_steps._clients.together import TOGETHER

ADAPTERS: tuple[ClientAdapter, ...] = (
    OPENAI,
    ANTHROPIC,
    GROQ,
    CEREBRAS,
    TOGETHER,
    BEDROCK,
    GOOGLE_GENAI,
    GOOGLE_INTERACTIONS,
    MISTRALAI,
    COHERE,
    OLLAMA,
    HUGGINGFACE_HUB,
    *LITELLM,
    LM15,
)
"""Every client library that `instrument()` patches."""
