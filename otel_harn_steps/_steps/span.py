"""What a step's span shows: at its start, after every call, and at its end. It shows the totals and decides nothing.

What is zero is left out. Where a step has made calls, their tokens, dollars and number are all there, zeros included:
a free model's calls cost 0, and a step without calls says nothing.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard import type_name
from otel_harn_steps._steps.totals import COUNTERS, NOTHING, Tally
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.whose import add_whose

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._steps.active import ActiveStep
    from otel_harn_steps._steps.boundary import Verdict
    from otel_harn_steps._steps.definition import StepDefinition

_ALWAYS: Final = ("input_tokens", "output_tokens", "llm_calls")
_FURTHER: Final = tuple(each for each in COUNTERS if each not in _ALWAYS)
_FURTHER_NAMES: Final = tuple(names.OF_STEP[counter] for counter in _FURTHER)
_further_counts = attrgetter(*_FURTHER)
_NO_FURTHER: Final = _further_counts(NOTHING)
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


class ShownTotals:
    """The totals that a step's span shows so far."""

    __slots__ = ("_breached", "_further", "_model", "_own")

    def __init__(self) -> None:
        self._own = NOTHING
        self._further = _NO_FURTHER
        self._model: str | None = None
        self._breached = False

    def show(self, span: Span, own: Tally, model: str | None, breached: str | None) -> None:
        """Write what has changed.

        Args:
            span: the step's span, which records.
            own: what the step's own calls spent.
            model: the model of the last call.
            breached: the limit that was crossed; None for none.
        """
        news: dict[str, AttributeValue] = {}
        if own is not self._own:  # a tally is a value: there is another one when something was spent
            before, self._own = self._own, own
            news = {
                names.INPUT_TOKENS: own.input_tokens,
                names.OUTPUT_TOKENS: own.output_tokens,
                names.COST_USD: to_usd(own.cost_picousd),
                names.LLM_CALLS: own.llm_calls,
            }
            if own.estimated_picousd != before.estimated_picousd:
                news[names.ESTIMATED_COST_USD] = to_usd(own.estimated_picousd)
            further = _further_counts(own)
            if further != self._further:
                each = zip(_FURTHER_NAMES, further, self._further, strict=True)
                news.update((name, count) for name, count, shown in each if count != shown)
                self._further = further
        if model and model != self._model:
            news[names.MODEL] = self._model = model
        if breached is not None and not self._breached:
            self._breached = True
            news[names.BUDGET_EXCEEDED] = True
            news[names.BUDGET_LIMIT] = breached
        span.set_attributes(news)


def end_attributes(active: ActiveStep, verdict: Verdict) -> dict[str, AttributeValue]:
    """What a step's span shows at its end: how it ended, and what is nested in it."""
    attributes: dict[str, AttributeValue] = {names.STATUS: verdict.status}
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
