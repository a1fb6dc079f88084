"""What each client library is: one small file a provider, for the one engine."""

from __future__ import annotations

from otel_harn_steps._providers.anthropic import ANTHROPIC
from otel_harn_steps._providers.bedrock import BEDROCK
from otel_harn_steps._providers.cohere import COHERE
from otel_harn_steps._providers.google_genai import GOOGLE_GENAI
from otel_harn_steps._providers.google_interactions import GOOGLE_INTERACTIONS
from otel_harn_steps._providers.groq import GROQ
from otel_harn_steps._providers.huggingface_hub import HUGGINGFACE_HUB
from otel_harn_steps._providers.litellm import LITELLM
from otel_harn_steps._providers.mistralai import MISTRALAI
from otel_harn_steps._providers.ollama import OLLAMA
from otel_harn_steps._providers.openai import OPENAI
from otel_harn_steps._providers.together import TOGETHER
from otel_harn_steps._reading import Provider

PROVIDERS: tuple[Provider, ...] = (
    OPENAI,
    ANTHROPIC,
    GROQ,
    TOGETHER,
    BEDROCK,
    GOOGLE_GENAI,
    GOOGLE_INTERACTIONS,
    MISTRALAI,
    COHERE,
    OLLAMA,
    HUGGINGFACE_HUB,
    *LITELLM,
)
"""Every client library that `instrument()` patches."""
