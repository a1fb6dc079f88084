"""All that is known about other instrumentations of the same clients, in one table.

`tests/integration/coexistence` runs each of them next to us.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Peer:
    """Another instrumentation.

    Attributes:
        scope: what the names of its instrumentation scopes begin with.
        is_late: whether its span may have no attributes before it ends, so that a model call and a tool look alike.
        later_paths: requests whose span it makes only when the response is there, by a part of their path.
        instrumentor: where it is, as "module:class": `later_paths` hold while it is on.
    """

    scope: str
    is_late: bool = False
    later_paths: tuple[str, ...] = ()
    instrumentor: str = ""


PEERS: Final = (
    Peer("com.anthropic.sdk"),  # the client's own, since 1.14
    Peer("openinference.instrumentation", is_late=True),  # its callbacks in LangChain are late, and not current either
    Peer("opentelemetry.instrumentation.anthropic"),  # OpenLLMetry
    Peer("opentelemetry.instrumentation.genai"),
    Peer(  # OpenLLMetry, and OpenTelemetry's `-openai-v2`
        "opentelemetry.instrumentation.openai",
        later_paths=("/responses",),
        instrumentor="opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    ),
    Peer("opentelemetry.util.genai"),
    Peer("logfire.openai"),
    Peer("logfire.anthropic"),
)

INFERENCE_SCOPES: Final = tuple(peer.scope for peer in PEERS)
"""Scopes whose current span is the inference span of the call that is being made."""

LATE_SCOPES: Final = tuple(peer.scope for peer in PEERS if peer.is_late)
"""Scopes whose spans may have no attributes before they end."""

_LATER: Final = tuple((path, *peer.instrumentor.split(":")) for peer in PEERS for path in peer.later_paths)


def may_have_span_later(path: str) -> bool:
    """Whether some instrumentation, if it is on, makes the span of a request to `path` only later."""
    return any(part in path for part, _, _ in _LATER)


def has_span_later(path: str) -> bool:
    """Whether another instrumentation makes the span of a request to `path` only when the response is there."""
    for part, module, name in _LATER:
        if part in path and module in sys.modules:
            instrumentor = getattr(getattr(sys.modules[module], name, None), "_instance", None)
            if getattr(instrumentor, "_is_instrumented_by_opentelemetry", False):
                return True
    return False


def client_traces_itself(client: Any, options: Any) -> bool:
    """Whether a client library makes a span of its own for a call: anthropic, for calls that have a span name."""
    return getattr(client, "_tracer", None) is not None and bool(getattr(options, "span_name", None))
