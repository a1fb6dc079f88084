"""Every name on the wire: attributes, metrics, events. `docs/attributes.md` is made of this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SCOPE: Final = "otel_harn_steps"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
"""The conventions that the names `gen_ai.*` are of: those of their own repository, which has had no release yet."""


@dataclass(frozen=True, slots=True)
class WireName:
    """A name, with what a reader of the data must know of it. `when` is "start", "live", "end", or "call"."""

    name: str
    kind: str
    when: str
    meaning: str


ATTRIBUTES: Final[list[WireName]] = []
METRICS: Final[list[WireName]] = []


def _attribute(name: str, kind: str, when: str, meaning: str) -> str:
    ATTRIBUTES.append(WireName(name, kind, when, meaning))
    return name


def _metric(name: str, kind: str, unit: str, meaning: str) -> tuple[str, str, str]:
    METRICS.append(WireName(name, kind, unit, meaning))
    return name, unit, meaning


# -- the step span, at its start ----------------------------------------------------------------------------------
STEP_NAME: Final = _attribute("harn.step.name", "string", "start", "The step's name.")
STEP_FUNCTION: Final = _attribute(
    "harn.step.function", "string", "start", "The function that the step is. Absent where it has the step's name."
)
STEP_PATH: Final = _attribute(
    "harn.step.path",
    "string",
    "start",
    "Names from the outermost step to this one, joined by `/`. Absent on the outermost, which has its name alone.",
)
STEP_DETAIL: Final = _attribute(
    "harn.step.detail",
    "string",
    "start",
    "What this run of the step is about, such as a ticket's number. On no metric, so it may have any number of values.",
)
STEP_DEFAULT_MODEL: Final = _attribute(
    "harn.step.default_model", "string", "start", "The model for calls that name none."
)
STEP_ERROR_BOUNDARY: Final = _attribute(
    "harn.step.error_boundary", "string", "start", "The boundary as it was written."
)
STEP_MAX_TOKENS: Final = _attribute("harn.step.budget.max_tokens", "int", "start", "The limit in tokens.")
STEP_MAX_USD: Final = _attribute("harn.step.budget.max_usd", "double", "start", "The limit in US dollars.")
LABEL: Final = "harn.label."
"""What the attribute of each label begins with, on spans and metrics."""
_attribute("harn.label.NAME", "string", "start", "The label of that name, on steps and calls that have it.")
AGENT_NAME: Final = _attribute(
    "gen_ai.agent.name", "string", "start", "The agent that the step belongs to. On call spans too."
)
CONVERSATION_ID: Final = _attribute(
    "gen_ai.conversation.id",
    "string",
    "start",
    "The value of the label that the setting `conversation_label` names. On call spans too.",
)
OPERATION: Final = _attribute(
    "gen_ai.operation.name",
    "string",
    "start",
    "`invoke_agent`, on a step that declares an agent. On call spans `chat`, `text_completion`, `embeddings`, ...",
)

# -- the step span, live and at its end ---------------------------------------------------------------------------
INPUT_TOKENS: Final = _attribute(
    "harn.step.input_tokens", "int", "live", "Input tokens of the step's own calls, cached ones included."
)
OUTPUT_TOKENS: Final = _attribute(
    "harn.step.output_tokens", "int", "live", "Output tokens of the step's own calls, reasoning included."
)
CACHE_READ_TOKENS: Final = _attribute(
    "harn.step.cache_read_tokens", "int", "live", "Input tokens read from a prompt cache. Absent for 0."
)
CACHE_WRITE_TOKENS: Final = _attribute(
    "harn.step.cache_write_tokens", "int", "live", "Input tokens written to a prompt cache. Absent for 0."
)
REASONING_TOKENS: Final = _attribute(
    "harn.step.reasoning_tokens", "int", "live", "Output tokens spent on reasoning. Absent for 0."
)
COST_USD: Final = _attribute(
    "harn.step.cost_usd", "double", "live", "US dollars of the step's own priced calls. May be summed over spans."
)
LLM_CALLS: Final = _attribute("harn.step.llm_calls", "int", "live", "Calls billed to the step itself.")
MODEL: Final = _attribute(
    "harn.step.model", "string", "live", "The model of the last call, as the provider reported it."
)
UNPRICED_CALLS: Final = _attribute(
    "harn.step.unpriced_calls",
    "int",
    "live",
    "Own calls whose price is unknown; their tokens count, their dollars do not. Absent for 0.",
)
UNMETERED_CALLS: Final = _attribute(
    "harn.step.unmetered_calls",
    "int",
    "live",
    "Own calls whose usage the provider did not report, or not in full. Absent for 0.",
)
OBSERVED_CALLS: Final = _attribute(
    "harn.step.observed_calls",
    "int",
    "live",
    "Own calls that were read from another instrumentation's span, because no patched client made them. Absent for 0.",
)
ESTIMATED_TOKENS: Final = _attribute(
    "harn.step.estimated_tokens",
    "int",
    "live",
    "What a budget assumed that own calls used beyond what was reported. In no other number. Absent for 0.",
)
ESTIMATED_COST_USD: Final = _attribute(
    "harn.step.estimated_cost_usd",
    "double",
    "live",
    "US dollars that a budget assumed for what is unknown of own calls. In no other number. Absent for 0.",
)
TOTAL_INPUT_TOKENS: Final = _attribute(
    "harn.step.total.input_tokens",
    "int",
    "end",
    "As above with all nested steps. Absent where none of these spent. Never sum over spans.",
)
TOTAL_OUTPUT_TOKENS: Final = _attribute(
    "harn.step.total.output_tokens",
    "int",
    "end",
    "As above with all nested steps. Absent where none of these spent. Never sum over spans.",
)
TOTAL_COST_USD: Final = _attribute(
    "harn.step.total.cost_usd",
    "double",
    "end",
    "As above with all nested steps. Absent where none of these spent. Never sum over spans.",
)
TOTAL_LLM_CALLS: Final = _attribute(
    "harn.step.total.llm_calls",
    "int",
    "end",
    "As above with all nested steps. Absent where none of these spent. Never sum over spans.",
)
BUDGET_LIMIT: Final = _attribute(
    "harn.step.budget.limit",
    "string",
    "live",
    "The limit that was crossed: `max_tokens`, `max_usd`, `max_calls`, ... Absent without a breach.",
)
BUDGET_EVENTS: Final = _attribute(
    "harn.step.budget.events",
    "string[]",
    "end",
    "What was done about the budget, oldest first: `notified:0.5`, `downgraded:gpt-5-nano`, `told:0.9`, "
    "`raised:max_usd=2`, `would have stopped:max_usd`, `paused:max_usd`, `decided:terminal`, `stopped:max_usd`. Absent "
    "where nothing was.",
)
BUDGET_EXCEEDED: Final = _attribute(
    "harn.step.budget.exceeded",
    "boolean",
    "live",
    "`true` where the step's own budget was crossed, else absent.",
)
OPEN_CALLS: Final = _attribute(
    "harn.step.open_calls",
    "int",
    "end",
    "Calls that had been sent and had not ended when the step did. Absent for 0.",
)
STATUS: Final = _attribute(
    "harn.step.status", "string", "end", "`completed`, `failed`, `skipped`, `escalated` or `cancelled`."
)
ERROR_TYPE: Final = _attribute(
    "error.type", "string", "end", "The type of the error that left the step's body. Absent for `completed`."
)

# -- the call span: GenAI semantic conventions, and one of ours ----------------------------------------------------
PROVIDER: Final = _attribute("gen_ai.provider.name", "string", "call", "The provider that bills the call.")
REQUEST_MODEL: Final = _attribute("gen_ai.request.model", "string", "call", "The model that was asked for.")
SERVER_ADDRESS: Final = _attribute("server.address", "string", "call", "The host that was asked.")
SERVER_PORT: Final = _attribute("server.port", "int", "call", "Its port. Absent for 443.")
REQUEST_STREAM: Final = _attribute(
    "gen_ai.request.stream", "boolean", "call", "True where the answer was read as a stream. Absent where it was not."
)
RESPONSE_MODEL: Final = _attribute("gen_ai.response.model", "string", "call", "The model that answered.")
RESPONSE_ID: Final = _attribute("gen_ai.response.id", "string", "call", "The provider's id of the answer.")
FINISH_REASONS: Final = _attribute(
    "gen_ai.response.finish_reasons", "string[]", "call", "Why the answer ended, in the provider's words: `stop`, ..."
)
FIRST_CHUNK_S: Final = _attribute(
    "gen_ai.response.time_to_first_chunk",
    "double",
    "call",
    "Seconds from the request to the first event of the stream that the app read.",
)
CALL_INPUT_TOKENS: Final = _attribute("gen_ai.usage.input_tokens", "int", "call", "Input tokens, cached ones included.")
CALL_OUTPUT_TOKENS: Final = _attribute(
    "gen_ai.usage.output_tokens", "int", "call", "Output tokens, reasoning included."
)
CALL_CACHE_READ: Final = _attribute(
    "gen_ai.usage.cache_read.input_tokens", "int", "call", "Part of the input that was read from a cache. Absent for 0."
)
CALL_CACHE_WRITE: Final = _attribute(
    "gen_ai.usage.cache_write.input_tokens",
    "int",
    "call",
    "Part of the input that was written to a cache. Absent for 0.",
)
CALL_REASONING: Final = _attribute(
    "gen_ai.usage.reasoning.output_tokens", "int", "call", "Part of the output that is reasoning. Absent for 0."
)
CALL_COST_USD: Final = _attribute(
    "harn.call.cost_usd", "double", "call", "US dollars of the call. Absent where the price is unknown."
)
CALL_CACHE_SAVINGS_USD: Final = _attribute(
    "harn.call.cache_savings_usd",
    "double",
    "call",
    "US dollars that reading from a prompt cache saved: the same tokens at the price of other input, less what they "
    "cost. Absent for 0, and where a price is unknown or the provider reports the cost itself.",
)


# -- the same dollars under names that others read, as the setting `emit` says --------------------------------------
LANGFUSE: Final = "langfuse"
LANGFUSE_TYPE: Final = "langfuse.observation.type"
LANGFUSE_COST: Final = "langfuse.observation.cost_details"
LANGFUSE_USAGE: Final = "langfuse.observation.usage_details"
LANGFUSE_FIRST_CHUNK: Final = "langfuse.observation.completion_start_time"
PHOENIX: Final = "phoenix"
PHOENIX_MODEL: Final = "llm.model_name"
PHOENIX_CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
PHOENIX_SEARCHES: Final = "llm.token_count.prompt_details.web_search"
EMITTED: Final = {
    "gen_ai.usage.cost": "double: US dollars. Read by Langfuse and OpenLIT, and written by OpenRouter.",
    "operation.cost": "double: US dollars. Logfire's, and Pydantic AI's.",
    "llm.cost.total": "double: US dollars. OpenInference's.",
    LANGFUSE: f"`{LANGFUSE_COST}` and `{LANGFUSE_USAGE}` (JSON), `{LANGFUSE_TYPE}`, and `{LANGFUSE_FIRST_CHUNK}` of a "
    "stream.",
    PHOENIX: f"`{PHOENIX_MODEL}` (the model that the price is of), `{PHOENIX_CACHE_WRITE}`, and `{PHOENIX_SEARCHES}` "
    "for searches that are charged: Phoenix takes no dollars, and prices these itself.",
}
"""What `emit` may name, with what that puts on the spans of calls."""

# -- metrics --------------------------------------------------------------------------------------------------------
METRIC_COST: Final = _metric("harn.step.cost", "counter", "{USD}", "US dollars that steps spent")
METRIC_INPUT_TOKENS: Final = _metric("harn.step.input_tokens", "counter", "{token}", "Input tokens that steps spent")
METRIC_OUTPUT_TOKENS: Final = _metric("harn.step.output_tokens", "counter", "{token}", "Output tokens that steps spent")
METRIC_LLM_CALLS: Final = _metric("harn.step.llm_calls", "counter", "{call}", "Calls billed to steps")
METRIC_BREACHES: Final = _metric("harn.step.budget.breaches", "counter", "{breach}", "Budgets that were crossed")
BUDGET_SHARE: Final = "harn.step.budget.share"
"""On that counter alone: the share of a limit that was reached, as the budget's `at` has it."""
METRIC_THRESHOLDS: Final = _metric(
    "harn.step.budget.thresholds", "counter", "{threshold}", "Shares of budgets that were reached"
)
METRIC_UNPRICED: Final = _metric("harn.step.unpriced_calls", "counter", "{call}", "Calls whose price is unknown")
METRIC_UNMETERED: Final = _metric(
    "harn.step.unmetered_calls", "counter", "{call}", "Calls whose usage is not known, or not in full"
)
METRIC_CACHE_READ: Final = _metric(
    "harn.step.cache_read_tokens", "counter", "{token}", "Input tokens that steps read from prompt caches"
)
METRIC_REASONING: Final = _metric(
    "harn.step.reasoning_tokens", "counter", "{token}", "Output tokens that steps spent on reasoning"
)
METRIC_DURATION: Final = _metric("harn.step.duration", "histogram", "s", "How long steps ran")
METRIC_RUN_COST: Final = _metric(
    "harn.step.run.cost", "histogram", "{USD}", "US dollars that one run of a step spent itself"
)
METRIC_BUDGET_USED: Final = _metric(
    "harn.step.budget.used",
    "histogram",
    "{share}",
    "Share of its fullest limit that a run of a step with a budget had used at its end: 1 is all of it",
)

METRIC_CALL_COST: Final = _metric("harn.call.cost", "counter", "{USD}", "US dollars of calls, counted as each ends")
METRIC_CALL_TOKENS: Final = _metric("harn.call.tokens", "counter", "{token}", "Tokens of calls, counted as each ends")
METRIC_CALLS: Final = _metric("harn.calls", "counter", "{call}", "Calls, counted as each ends")
METRIC_CACHE_SAVINGS: Final = _metric(
    "harn.call.cache_savings", "counter", "{USD}", "US dollars that calls saved by reading from prompt caches"
)
METRIC_UNSEEN: Final = _metric(
    "harn.unseen_calls", "counter", "{call}", "Requests to models that no patched client made"
)
HOST: Final = "server.address"
"""On `harn.unseen_calls`: where they went."""
CERTAINTY: Final = "harn.call.certainty"
"""On the metrics of calls: where the numbers are from."""
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 -- a name, and no secret
"""On `harn.call.tokens`: "input" or "output"."""

# The conventions' own, counted with each call span that is ours.
CLIENT_DURATION: Final = _metric(
    "gen_ai.client.operation.duration", "histogram", "s", "How long calls took, from the request to the answer's end"
)
_USAGE: Final = "gen_ai.client.inference.usage"
CLIENT_INPUT: Final = _metric(f"{_USAGE}.input_tokens", "counter", "{token}", "Input tokens, cached ones included")
CLIENT_OUTPUT: Final = _metric(f"{_USAGE}.output_tokens", "counter", "{token}", "Output tokens, reasoning included")
CLIENT_CACHE_READ: Final = _metric(
    f"{_USAGE}.cache_read.input_tokens", "counter", "{token}", "Part of the input that was read from a cache"
)
CLIENT_CACHE_WRITE: Final = _metric(
    f"{_USAGE}.cache_write.input_tokens", "counter", "{token}", "Part of the input that was written to a cache"
)
CLIENT_REASONING: Final = _metric(
    f"{_USAGE}.reasoning.output_tokens", "counter", "{token}", "Part of the output that is reasoning"
)
MODALITY: Final = "gen_ai.token.modality"
"""On these counters: "unknown". Most providers do not say."""

_STEP: Final = "harn.step."
OF_STEP: Final = {
    each.name.removeprefix(_STEP): each.name
    for each in ATTRIBUTES
    if each.name.startswith(_STEP) and each.when != "call"
}
"""The attributes of a step's span, by what stands behind `harn.step.`."""


def of_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The attributes of labels."""
    return {LABEL + name: value for name, value in labels.items()}


# -- events ---------------------------------------------------------------------------------------------------------
COMPLETED_EVENT: Final = "harn.step.completed"
THRESHOLD_EVENT: Final = "harn.step.budget.threshold"


def of_record(field: str) -> str:
    """The attribute of the completed event that holds a field of the record. Where the span has it, it is the same."""
    return _OF_RECORD.get(field) or OF_STEP.get(field.replace("total_", "total.")) or _STEP + field


_OF_RECORD: Final = {
    "breach": BUDGET_LIMIT,
    "max_tokens": STEP_MAX_TOKENS,
    "max_usd": STEP_MAX_USD,
    "budget_events": BUDGET_EVENTS,
}


def of_threshold(field: str) -> str:
    """The attribute of the threshold event that holds a field of it."""
    return f"{_STEP}{field}" if field in ("name", "run_id") else f"{_STEP}budget.{field.removeprefix('budget_')}"
