"""Who answers at an address: the clients of one protocol talk to many providers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# By the end of the host's name. The names are those of `gen_ai.provider.name`, or of genai-prices where it has none.
_HOSTS: Final = {
    ".openai.azure.com": "azure.ai.openai",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.openai",
    ".api.aws": "aws.bedrock",
    ".amazonaws.com": "aws.bedrock",
    ".api.openai.com": "openai",
    ".api.anthropic.com": "anthropic",
    ".api.cerebras.ai": "cerebras",
    ".api.cohere.ai": "cohere",
    ".api.cohere.com": "cohere",
    ".api.deepseek.com": "deepseek",
    ".api.fireworks.ai": "fireworks",
    ".api.groq.com": "groq",
    ".api.mistral.ai": "mistral_ai",
    ".api.moonshot.ai": "moonshot_ai",
    ".api.moonshot.cn": "moonshot_ai",
    ".api.novita.ai": "novita",
    ".api.perplexity.ai": "perplexity",
    ".api.together.ai": "together",
    ".api.together.xyz": "together",
    ".api.x.ai": "x_ai",
    ".api.z.ai": "zai",
    ".generativelanguage.googleapis.com": "gcp.gemini",
    ".aiplatform.googleapis.com": "gcp.vertex_ai",
    "-aiplatform.googleapis.com": "gcp.vertex_ai",  # after the region
    ".openrouter.ai": "openrouter",
    ".router.huggingface.co": "huggingface",
}
# OpenAI processes requests to these hosts in the region that they name, and charges for that.
_REGIONAL_HOST: Final = re.compile(r"[a-z]{2}\.api\.openai\.com")


@lru_cache(maxsize=256)
def provider_at(host: str, default: str) -> str:
    """The provider behind `host`; `default` for an unknown host (a proxy, a local server)."""
    dotted = f".{host}"
    return next((provider for suffix, provider in _HOSTS.items() if dotted.endswith(suffix)), default)


@lru_cache(maxsize=256)
def is_regional(host: str) -> bool:
    """Whether `host` is one of OpenAI's addresses for data residency, as `eu.api.openai.com`."""
    return _REGIONAL_HOST.fullmatch(host) is not None
