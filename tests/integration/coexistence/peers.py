"""The other instrumentations: how each is put in place and taken away again. Imported in their own environments only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol


class Peer(Protocol):
    """Another instrumentation of the clients."""

    def instrument(self) -> None: ...
    def uninstrument(self) -> None: ...


class _Instrumentors:
    """Instrumentations that derive from OpenTelemetry's `BaseInstrumentor`."""

    def __init__(self, *instrumentors: Any) -> None:
        self._instrumentors = instrumentors

    def instrument(self) -> None:
        for each in self._instrumentors:
            each.instrument()

    def uninstrument(self) -> None:
        for each in self._instrumentors:
            each.uninstrument()


class _Logfire:
    """Takes itself away with the context managers that its functions return."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def instrument(self) -> None:
        import logfire

        self._undo.enter_context(logfire.instrument_openai())
        self._undo.enter_context(logfire.instrument_anthropic())

    def uninstrument(self) -> None:
        self._undo.close()


class _Nobody:
    """Only the clients' own tracing."""

    def instrument(self) -> None: ...
    def uninstrument(self) -> None: ...


def _genai() -> Peer:
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    return _Instrumentors(OpenAIInstrumentor(), AnthropicInstrumentor())


def _openai_v2() -> Peer:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    return _Instrumentors(OpenAIInstrumentor())


def _openinference() -> Peer:
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    return _Instrumentors(OpenAIInstrumentor(), AnthropicInstrumentor())


def _openllmetry() -> Peer:
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    return _Instrumentors(OpenAIInstrumentor(), AnthropicInstrumentor())


PEERS: dict[str, Callable[[], Peer]] = {
    "anthropic-own": _Nobody,
    "genai": _genai,
    "logfire": _Logfire,
    "openai-v2": _openai_v2,
    "openinference": _openinference,
    "openllmetry": _openllmetry,
}
