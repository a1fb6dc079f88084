"""Models that only one vendor serves, by name: at a gateway, whoever runs it, such a call costs the vendor's price."""

from __future__ import annotations

import re
from typing import Final

# By what a name without its routing prefix begins with; the providers are named as in genai-prices. Left out are
# models whose weights are open (gpt-oss, gemma, llama, qwen, ...): anybody may run those.
_VENDORS: Final = (
    (
        "openai",
        re.compile(
            r"(?:ft:)?(?:gpt-(?:[3-9]|[1-9]\d|audio|chat|image|live|realtime|rosalind|transcribe)|o[1-9](?:-|:|$))"
            r"|chatgpt-|codex-mini|computer-use-preview|dall-e-|omni-moderation|sora-|text-davinci-|text-embedding-3-"
            r"|text-embedding-ada|tts-1|whisper-1$|(?:babbage|davinci)-002"
        ),
    ),
    ("anthropic", re.compile(r"claude-")),
    ("google", re.compile(r"gemini-|imagen-|learnlm-|veo-|text-embedding-00|(?:text|chat|code)-bison")),
    # Bedrock's own ids: "us.anthropic.claude-haiku-4-5-20251001-v1:0".
    (
        "aws",
        re.compile(r"(?:us|us-gov|eu|apac|au|ca|jp|global)\.[a-z0-9]+\.[a-z]|anthropic\.claude|amazon\.(?:nova|titan)"),
    ),
    ("x-ai", re.compile(r"grok-(?:[4-9]|code|build|voice)")),  # the weights of older ones are open
    ("perplexity", re.compile(r"sonar(?:-(?:pro|reasoning|deep-research)|$)")),
    ("cohere", re.compile(r"(?:embed|rerank)-(?:english|multilingual|v\d)")),
    ("voyageai", re.compile(r"voyage-(?!\d+-nano)")),
)
# "gpt-oss:120b-cloud", "glm-4.6:cloud": a server on this machine passes the call on.
_OLLAMAS_CLOUD: Final = re.compile(r"[:-]cloud$")


def vendor_of(model: str) -> tuple[str, str] | None:
    """The vendor of a model that nobody else serves, and the model's name there. None for all other models.

    Args:
        model: as a gateway names it, with or without routing prefixes: "gpt-4o", "openrouter/openai/gpt-4o".
    """
    name = model.rpartition("/")[2].lower()
    return next(((vendor, name) for vendor, names in _VENDORS if names.match(name)), None)


def is_in_ollamas_cloud(model: str) -> bool:
    """Whether Ollama runs the model, and not a machine of yours, by the tag of its name."""
    return _OLLAMAS_CLOUD.search(model) is not None
