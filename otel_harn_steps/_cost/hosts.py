"""Who answers, and so who bills, at a host: clients of one protocol talk to many providers."""

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
    ".api.anthropic.com": "anthropic",
    ".api.arcee.ai": "arcee",
    ".api.avian.io": "avian",
    ".api.cerebras.ai": "cerebras",
    ".api.cohere.ai": "cohere",
    ".api.cohere.com": "cohere",
    ".api.deepseek.com": "deepseek",
    ".api.doubleword.ai": "doubleword",
    ".api.fireworks.ai": "fireworks",
    ".api.githubcopilot.com": "github-copilot",
    ".api.groq.com": "groq",
    ".api.minimax.io": "minimax",
    ".api.minimaxi.com": "minimax",
    ".api.eu.mistral.ai": "mistral_ai",
    ".api.mistral.ai": "mistral_ai",
    ".api.us.mistral.ai": "mistral_ai",
    ".api.moonshot.ai": "moonshot_ai",
    ".api.moonshot.cn": "moonshot_ai",
    ".api.novita.ai": "novita",
    ".api.openai.com": "openai",
    ".api.perplexity.ai": "perplexity",
    ".api.together.ai": "together",
    ".api.together.xyz": "together",
    ".api.voyageai.com": "voyageai",
    ".api.x.ai": "x_ai",
    ".api.z.ai": "zai",
    ".azuredatabricks.net": "databricks",
    ".cloud.databricks.com": "databricks",
    ".gcp.databricks.com": "databricks",
    ".generativelanguage.googleapis.com": "gcp.gemini",
    # A location in front, as in "us-central1-aiplatform.googleapis.com" and "aiplatform.eu.rep.googleapis.com".
    ".aiplatform.googleapis.com": "gcp.vertex_ai",
    "-aiplatform.googleapis.com": "gcp.vertex_ai",
    ".rep.googleapis.com": "gcp.vertex_ai",
    ".inference.baseten.co": "baseten",
    ".oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    ".ollama.com": "ollama",
    ".open.bigmodel.cn": "zhipuai",
    ".openrouter.ai": "openrouter",
    ".router.huggingface.co": "huggingface",
}
# OpenAI processes requests to these hosts in the region that they name, and charges for that.
_REGIONAL_HOST: Final = re.compile(r"[a-z]{2}\.api\.openai\.com")
# The machine itself, the network around it, and what containers call the machine that they run on.
_LOCAL_NAMES: Final = (".localhost", ".local", ".docker.internal", ".containers.internal")


@lru_cache(maxsize=256)
def provider_at(host: str, default: str) -> str:
    """The provider behind `host`; `default` for an unknown host (a proxy, a local server)."""
    return _known_at(host) or default


def is_known(host: str) -> bool:
    """Whether `host` is known to be a provider's."""
    return _known_at(host) is not None


def _known_at(host: str) -> str | None:
    dotted = f".{host}"
    return next((provider for suffix, provider in _HOSTS.items() if dotted.endswith(suffix)), None)


@lru_cache(maxsize=256)
def is_regional(host: str) -> bool:
    """Whether `host` is one of OpenAI's addresses for data residency, as `eu.api.openai.com`."""
    return _REGIONAL_HOST.fullmatch(host) is not None


def is_local(host: str) -> bool:
    """Whether `host` is this machine or one of a private network, as names without a dot are: "localhost", "ollama"."""
    from ipaddress import ip_address  # noqa: PLC0415 -- only for a host that is not known

    try:
        return not ip_address(host.strip("[]")).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith(_LOCAL_NAMES)
