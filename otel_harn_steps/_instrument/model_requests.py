"""Which HTTP requests run a model: what is known of the providers' hosts and paths, whoever makes the request."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from otel_harn_steps._cost.hosts import provider_at

# Hosts of models that no client of ours has as a provider yet, by the end of their names.
_FURTHER_HOSTS: Final = (
    ".api.ai21.com",
    ".api.baseten.co",
    ".api.deepinfra.com",
    ".api.elevenlabs.io",
    ".api.githubcopilot.com",
    ".api.hyperbolic.xyz",
    ".api.jina.ai",
    ".api.lambda.ai",
    ".api.meta.ai",
    ".api.minimax.io",
    ".api.sambanova.ai",
    ".api.studio.nebius.com",
    ".api.voyageai.com",
    ".ai-gateway.vercel.sh",
    ".dashscope.aliyuncs.com",
    ".dashscope-intl.aliyuncs.com",
    ".gateway.ai.cloudflare.com",
    ".inference.ai.azure.com",
    ".inference.baseten.co",
    ".integrate.api.nvidia.com",
    ".models.github.ai",
    ".ollama.com",
    ".open.bigmodel.cn",
)

# By the end of the path: what is before it differs by provider, and holds names of deployments and projects.
_PATHS: Final = (
    # OpenAI's protocol
    "/chat/completions",
    "/fim/completions",
    "/agents/completions",
    "/completions",
    "/responses",
    "/responses/compact",
    "/decisions",
    "/embeddings",
    "/moderations",
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/videos",
    "/videos/edits",
    "/videos/extensions",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/batches",
    # Anthropic
    "/messages",
    "/complete",
    "/messages/batches",
    # Cohere, Mistral, Ollama, Gemini, Bedrock
    "/chat",
    "/chat_stream",
    "/embed",
    "/rerank",
    "/generate",
    "/ocr",
    "/conversations",
    "/interactions",
    "/converse",
    "/converse-stream",
    "/invoke",
    "/invoke-with-response-stream",
)
_BY_LENGTH: Final = tuple(sorted(_PATHS, key=len, reverse=True))
# In Google's APIs the last segment is "model:method".
_METHODS: Final = frozenset(
    {
        "generateContent",
        "streamGenerateContent",
        "embedContent",
        "batchEmbedContents",
        "asyncBatchEmbedContent",
        "batchGenerateContent",
        "generateImages",
        "predict",
        "predictLongRunning",
        "rawPredict",
        "streamRawPredict",
    }
)
# A message of an assistant's thread, which runs nothing; the run of the thread does.
_THREADS: Final = "/threads/"
_RUNS: Final = "/runs"


@lru_cache(maxsize=1024)
def is_model_host(host: str) -> bool:
    """Whether a provider of models answers at `host`, which is in lower case and has no port."""
    if host.endswith(".amazonaws.com"):
        return "bedrock" in host  # the rest is all of AWS, and the apps of everybody there
    return bool(provider_at(host, "")) or f".{host}".endswith(_FURTHER_HOSTS)


def model_path(path: str) -> str | None:
    """What a POST to `path` does, without names and ids: "/chat/completions". None: it runs no model."""
    path = path.partition("?")[0].rstrip("/")
    _, colon, method = path.rpartition("/")[2].rpartition(":")
    if colon and method in _METHODS:
        return f":{method}"
    if _THREADS in path or path.endswith("/threads/runs"):
        return _RUNS if path.endswith(_RUNS) else None
    return next((end for end in _BY_LENGTH if path.endswith(end)), None)
