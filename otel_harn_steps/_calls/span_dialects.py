"""The call that an inference span of another instrumentation reports, in the three dialects there are.

OpenTelemetry's conventions (`gen_ai.*`, with their older names), OpenInference (`llm.token_count.*`), and OpenLLMetry
(`llm.usage.*`, `traceloop.*`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_harn_steps._cost.usage import Usage, token_count

_INPUT: Final = (
    "gen_ai.usage.input_tokens",
    "llm.token_count.prompt",
    "gen_ai.usage.prompt_tokens",
    "llm.usage.prompt_tokens",
)
_OUTPUT: Final = (
    "gen_ai.usage.output_tokens",
    "llm.token_count.completion",
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
)
_CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CACHE_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "llm.usage.reasoning_tokens",
)
_PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_RESPONSE_MODEL: Final = ("gen_ai.response.model", "llm.response.model")
_REQUEST_MODEL: Final = (
    "gen_ai.request.model",
    "llm.request.model",
    "llm.model_name",
    "embedding.model_name",
    "langfuse.observation.model.name",
)
_RESPONSE_ID: Final = ("gen_ai.response.id", "llm.response.id")

# The attributes that say what a span is, with the values of one call to a model. Spans of agents, chains, tools and
# workflows repeat the totals of the calls below them.
_KINDS: Final = (
    (
        "gen_ai.operation.name",
        frozenset({"chat", "completion", "embeddings", "embedding", "generate_content", "text_completion"}),
    ),
    ("openinference.span.kind", frozenset({"LLM", "EMBEDDING"})),
    ("traceloop.span.kind", frozenset({"llm"})),
    ("llm.request.type", frozenset({"chat", "completion", "embedding"})),
    ("langfuse.observation.type", frozenset({"generation", "embedding"})),
    ("mlflow.spanType", frozenset({"CHAT_MODEL", "LLM", "EMBEDDING"})),
)
# By the conventions a span's name begins with its operation.
_AROUND_CALLS: Final = frozenset({"create_agent", "execute_tool", "invoke_agent", "invoke_workflow"})


@dataclass(frozen=True, slots=True)
class ReportedCall:
    """One call as a span reports it. Models are `(requested, answered)`."""

    provider: str | None
    models: tuple[str | None, str | None]
    response_id: str | None
    usage: Usage

    @property
    def model(self) -> str | None:
        """The model that answered, else the one that was requested."""
        return self.models[1] or self.models[0]


def parse_span_attributes(attributes: Mapping[str, object]) -> ReportedCall | None:
    """The call that the attributes of an ended span report. None: they report no usage, or that of several calls."""
    input_tokens, output_tokens = _count(attributes, _INPUT), _count(attributes, _OUTPUT)
    if input_tokens is None and output_tokens is None:
        return None
    requested, answered = models_of(attributes)
    if not _is_one_call(attributes, requested or answered):
        return None
    provider = _text(attributes, _PROVIDER)
    return ReportedCall(
        None if provider is None else provider.lower(),
        (requested, answered),
        _text(attributes, _RESPONSE_ID),
        _usage(attributes, input_tokens, 0 if _is_embedding(attributes) else output_tokens),
    )


def is_of_one_call(name: str, attributes: Mapping[str, object]) -> bool | None:
    """Whether a span that is open says that it is of one call to a model. None: it does not say what it is.

    False where it is of an agent, a chain, a tool, in which calls are made that have spans of their own.
    """
    said = _said(attributes)
    if said is None and name.partition(" ")[0] in _AROUND_CALLS:
        return False
    return said


def models_of(attributes: Mapping[str, object]) -> tuple[str | None, str | None]:
    """The models that a span names: the requested one, and the one that answered."""
    return _text(attributes, _REQUEST_MODEL), _text(attributes, _RESPONSE_MODEL)


def _said(attributes: Mapping[str, object]) -> bool | None:
    for name, of_a_call in _KINDS:
        kind = attributes.get(name)
        if kind is not None:
            # MLflow writes its values as JSON.
            return kind in of_a_call or (isinstance(kind, str) and kind.strip('"') in of_a_call)
    return None


def _is_one_call(attributes: Mapping[str, object], model: str | None) -> bool:
    said = _said(attributes)
    return model is not None if said is None else said


def _is_embedding(attributes: Mapping[str, object]) -> bool:
    return any(str(attributes.get(name, "")).lower().startswith("embedding") for name, _ in _KINDS)


def _usage(attributes: Mapping[str, object], input_tokens: int | None, output_tokens: int | None) -> Usage:
    cache_read, cache_write = _count(attributes, _CACHE_READ) or 0, _count(attributes, _CACHE_WRITE) or 0
    if input_tokens is not None and cache_read + cache_write > input_tokens:
        # A part is not greater than its whole: this instrumentation leaves cached tokens out, as Anthropic's API does.
        input_tokens += cache_read + cache_write
    return Usage(
        input_tokens,
        output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=_count(attributes, _REASONING) or 0,
    )


def _count(attributes: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    for name in names:
        count = token_count(attributes.get(name))
        if count is not None:
            return count
    return None


def _text(attributes: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    for name in names:
        text = attributes.get(name)
        if isinstance(text, str) and text:
            return text
    return None
