"""Every name on the wire: attributes, metrics, events. `docs/attributes.md` is made of this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SCOPE: Final = "otel_harn_steps"


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
STEP_FUNCTION: Final = _attribute("harn.step.function", "string", "start", "The function that the step is.")
STEP_PATH: Final = _attribute(
    "harn.step.path", "string", "start", "Names from the outermost step to this one, joined by `/`."
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
AGENT_NAME: Final = _attribute("gen_ai.agent.name", "string", "start", "The agent that the step belongs to.")

# -- the step span, live and at its end ---------------------------------------------------------------------------
INPUT_TOKENS: Final = _attribute(
    "harn.step.input_tokens", "int", "live", "Input tokens of the step's own calls, cached ones included."
)
OUTPUT_TOKENS: Final = _attribute(
    "harn.step.output_tokens", "int", "live", "Output tokens of the step's own calls, reasoning included."
)
CACHE_READ_TOKENS: Final = _attribute(
    "harn.step.cache_read_tokens", "int", "live", "Input tokens read from a prompt cache."
)
CACHE_WRITE_TOKENS: Final = _attribute(
    "harn.step.cache_write_tokens", "int", "live", "Input tokens written to a prompt cache."
)
REASONING_TOKENS: Final = _attribute("harn.step.reasoning_tokens", "int", "live", "Output tokens spent on reasoning.")
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
    "Own calls whose price is unknown; their tokens count, their dollars do not.",
)
UNMETERED_CALLS: Final = _attribute(
    "harn.step.unmetered_calls", "int", "live", "Own calls whose usage the provider did not report, or not in full."
)
OBSERVED_CALLS: Final = _attribute(
    "harn.step.observed_calls",
    "int",
    "live",
    "Own calls that were read from another instrumentation's span, because no patched client made them.",
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
    "harn.step.total.input_tokens", "int", "live", "As above with all nested steps. Never sum over spans."
)
TOTAL_OUTPUT_TOKENS: Final = _attribute(
    "harn.step.total.output_tokens", "int", "live", "As above with all nested steps. Never sum over spans."
)
TOTAL_COST_USD: Final = _attribute(
    "harn.step.total.cost_usd", "double", "live", "As above with all nested steps. Never sum over spans."
)
TOTAL_LLM_CALLS: Final = _attribute(
    "harn.step.total.llm_calls", "int", "live", "As above with all nested steps. Never sum over spans."
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
    "harn.step.budget.exceeded", "boolean", "live", "Whether the step's own budget was crossed."
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

# -- the call span: GenAI semantic conventions, and two of ours ---------------------------------------------------
OPERATION: Final = _attribute("gen_ai.operation.name", "string", "call", "`chat`, `text_completion`, `embeddings`, ...")
PROVIDER: Final = _attribute("gen_ai.provider.name", "string", "call", "The provider that bills the call.")
REQUEST_MODEL: Final = _attribute("gen_ai.request.model", "string", "call", "The model that was asked for.")
RESPONSE_MODEL: Final = _attribute("gen_ai.response.model", "string", "call", "The model that answered.")
RESPONSE_ID: Final = _attribute("gen_ai.response.id", "string", "call", "The provider's id of the answer.")
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
METRIC_DURATION: Final = _metric("harn.step.duration", "histogram", "s", "How long steps ran")
METRIC_RUN_COST: Final = _metric(
    "harn.step.run.cost", "histogram", "{USD}", "US dollars that one run of a step spent itself"
)

METRIC_CALL_COST: Final = _metric("harn.call.cost", "counter", "{USD}", "US dollars of calls, counted as each ends")
METRIC_CALL_TOKENS: Final = _metric("harn.call.tokens", "counter", "{token}", "Tokens of calls, counted as each ends")
METRIC_CALLS: Final = _metric("harn.calls", "counter", "{call}", "Calls, counted as each ends")
CERTAINTY: Final = "harn.call.certainty"
"""On the metrics of calls: where the numbers are from."""
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 -- a name, and no secret
"""On `harn.call.tokens`: "input" or "output"."""

_STEP: Final = "harn.step."
OF_STEP: Final = {
    each.name.removeprefix(_STEP): each.name
    for each in ATTRIBUTES
    if each.name.startswith(_STEP) and each.when != "call"
}
"""The attributes of a step's span, by what stands behind `harn.step.`."""

# -- events ---------------------------------------------------------------------------------------------------------
COMPLETED_EVENT: Final = "harn.step.completed"
THRESHOLD_EVENT: Final = "harn.step.budget.threshold"
