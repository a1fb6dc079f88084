"""What each client library is: one small file a provider, for the one engine.

A library's file is imported when the library itself is: most programs import one of them.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import ClientAdapter

    ADAPTERS: tuple[ClientAdapter, ...]
    """Every client library that `instrument()` patches."""


class Library(NamedTuple):
    """A client library that can be patched.

    Attributes:
        packages: one of them is imported before any module that is patched. A namespace package says nothing of that.
        adapters: by the file that has them, the names of its adapters.
    """

    packages: tuple[str, ...]
    adapters: tuple[tuple[str, str], ...]

    def load(self) -> tuple[ClientAdapter, ...]:
        """The adapters."""
        found: list[Any] = [getattr(import_module(f"{__name__}.{file}"), name) for file, name in self.adapters]
        return tuple(each for one in found for each in (one if isinstance(one, tuple) else (one,)))


LIBRARIES: Final = MappingProxyType(
    {
        "openai": Library(("openai",), (("openai", "OPENAI"),)),
        "anthropic": Library(("anthropic",), (("anthropic", "ANTHROPIC"),)),
        "groq": Library(("groq",), (("groq", "GROQ"),)),
        "cerebras_cloud_sdk": Library(("cerebras.cloud.sdk",), (("cerebras_cloud_sdk", "CEREBRAS"),)),
        "together": Library(("together",), (("together", "TOGETHER"),)),
        "botocore": Library(("botocore", "aiobotocore"), (("bedrock", "BEDROCK"),)),
        "google-genai": Library(
            ("google.genai",), (("google_genai", "GOOGLE_GENAI"), ("google_interactions", "GOOGLE_INTERACTIONS"))
        ),
        # From its version 2 on, `mistralai` itself is a namespace, which has no loader to call back.
        "mistralai": Library(
            ("mistralai", "mistralai.client", "mistralai.azure.client", "mistralai.gcp.client"),
            (("mistralai", "MISTRALAI"),),
        ),
        "cohere": Library(("cohere",), (("cohere", "COHERE"),)),
        "ollama": Library(("ollama",), (("ollama", "OLLAMA"),)),
        "huggingface_hub": Library(("huggingface_hub",), (("huggingface_hub", "HUGGINGFACE_HUB"),)),
        "litellm": Library(("litellm",), (("litellm", "LITELLM"),)),
        "lm15": Library(("lm15", "dspy"), (("lm15", "LM15"),)),
    }
)
"""By its name, as `instrument(clients=...)` takes it."""


def __getattr__(name: str) -> Any:
    if name != "ADAPTERS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = tuple(adapter for library in LIBRARIES.values() for adapter in library.load())
    globals()[name] = found
    return found
