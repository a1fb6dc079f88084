"""What a step's span shows: at its start, after every call, and at its end. It shows the totals and decides nothing.

What is zero is left out, but for tokens, dollars and calls of its own: to look for those, one has not to unfold twenty
lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from otel_harn_steps._cost.money import PICOUSD_PER_USD, to_usd
from otel_harn_steps._guard import type_name
from otel_harn_steps._steps.totals import COUNTERS, NOTHING, Tally
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.whose import add_whose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.boundary import Verdict
    from otel_harn_steps._steps.definition import StepDefinition

_ALWAYS: Final = ("input_tokens", "output_tokens", "llm_calls")
_FURTHER: Final = slice(len(_ALWAYS), len(COUNTERS))  # of a tally, which begins with the counters
_MOST_INT: Final = 2**63 - 1  # the largest integer that OTLP carries
_INVOKE_AGENT: Final = "invoke_agent"


def start_of(active: ActiveStep) -> tuple[str, dict[str, AttributeValue]]:
    """The name and the first attributes of a step's span: what is declared of it, and where it is."""
    definition = active.definition
    try:
        name, declared = definition.on_span
    except AttributeError:
        name, declared = _prepare(definition)
    attributes: dict[str, AttributeValue] = declared.copy()
    if active.parent is not None:
        attributes[names.STEP_PATH] = active.path
    if active.detail is not None:
        attributes[names.STEP_DETAIL] = active.detail
    if active.agent is not None or active.labels:
        add_whose(attributes, active.agent, active.labels)
    return name, attributes


def _prepare(definition: StepDefinition) -> tuple[str, dict[str, AttributeValue]]:
    """What all runs of a step have in common. A limit that OTLP cannot carry is shown as the largest that it can."""
    declared: dict[str, AttributeValue] = {names.STEP_NAME: definition.name}
    if definition.function != definition.name:
        declared[names.STEP_FUNCTION] = definition.function
    if definition.model is not None:
        declared[names.STEP_DEFAULT_MODEL] = definition.model
    if definition.error_boundary is not None:
        declared[names.STEP_ERROR_BOUNDARY] = definition.error_boundary
    budget = definition.budget
    if budget.max_tokens is not None:
        declared[names.STEP_MAX_TOKENS] = min(budget.max_tokens, _MOST_INT)
    if budget.max_usd is not None:
        declared[names.STEP_MAX_USD] = float(budget.max_usd)
    if definition.agent is not None:  # a step within an agent's is no invocation of it
        declared[names.OPERATION] = _INVOKE_AGENT
    prepared = f"step {definition.name}", declared
    object.__setattr__(definition, "on_span", prepared)  # it is frozen: this is no part of what it says
    return prepared


class Shown(NamedTuple):
    """What a step's span shows so far."""

    own: Tally = NOTHING
    model: str | None = None
    is_breached: bool = False


NOTHING_SHOWN: Final = Shown()


def show_totals(active: ActiveStep) -> Shown:
    """Write what has changed to the step's span, which records. Returns what it shows now."""
    before, own, model, breach = active.shown, active.own, active.last_model, active.breach
    news: dict[str, AttributeValue] = {}
    if own is not before.own:  # a tally is a value: there is another one when something was spent
        news = {
            names.INPUT_TOKENS: own.input_tokens,
            names.OUTPUT_TOKENS: own.output_tokens,
            names.COST_USD: own.cost_picousd / PICOUSD_PER_USD,
            names.LLM_CALLS: own.llm_calls,
        }
        if own[_FURTHER] != before.own[_FURTHER] or own.estimated_picousd != before.own.estimated_picousd:
            _add_further(news, own, before.own)
    if model and model != before.model:
        news[names.MODEL] = model
    if breach is not None and not before.is_breached:
        news[names.BUDGET_EXCEEDED] = True
        news[names.BUDGET_LIMIT] = breach.limit
    if news:
        active.span.set_attributes(news)
    return tuple.__new__(Shown, (own, model or before.model, breach is not None or before.is_breached))


def _add_further(news: dict[str, AttributeValue], own: Tally, before: Tally) -> None:
    if own.estimated_picousd != before.estimated_picousd:
        news[names.ESTIMATED_COST_USD] = to_usd(own.estimated_picousd)
    news.update(
        (names.OF_STEP[counter], count)
        for counter, count, shown in zip(COUNTERS, own, before, strict=False)
        if count != shown and counter not in _ALWAYS
    )


def end_attributes(active: ActiveStep, verdict: Verdict) -> dict[str, AttributeValue]:
    """What a step's span shows at its end: how it ended, that it spent nothing of its own, and what is nested in it."""
    attributes: dict[str, AttributeValue] = {names.STATUS: verdict.status}
    if active.shown.own is NOTHING:
        attributes.update(_NOTHING_SPENT)
    subtree = active.subtree
    if subtree is not active.own and subtree != active.own:
        attributes[names.TOTAL_INPUT_TOKENS] = subtree.input_tokens
        attributes[names.TOTAL_OUTPUT_TOKENS] = subtree.output_tokens
        attributes[names.TOTAL_COST_USD] = to_usd(subtree.cost_picousd)
        attributes[names.TOTAL_LLM_CALLS] = subtree.llm_calls
    if active.open_calls:
        attributes[names.OPEN_CALLS] = active.open_calls
    if active.budget_events:
        attributes[names.BUDGET_EVENTS] = active.budget_events
    if verdict.cause is not None:
        attributes[names.ERROR_TYPE] = type_name(type(verdict.cause))
    return attributes


_NOTHING_SPENT: Final[Mapping[str, AttributeValue]] = {
    names.INPUT_TOKENS: 0,
    names.OUTPUT_TOKENS: 0,
    names.COST_USD: 0.0,
    names.LLM_CALLS: 0,
}
