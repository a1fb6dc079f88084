"""What a step's span shows: at its start, after every call, and at its end. It shows the totals and decides nothing."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.totals import COUNTERS, SUBTREE_COUNTERS, Tally
from otel_harn_steps._telemetry import names

_OWN: Final = tuple(names.OF_STEP[counter] for counter in COUNTERS)
_SUBTREE: Final = tuple(names.OF_STEP[f"total.{counter}"] for counter in SUBTREE_COUNTERS)
_SHOWN: Final = (*_OWN, names.COST_USD, *_SUBTREE, names.TOTAL_COST_USD)
_own_counts = attrgetter(*COUNTERS)
_subtree_counts = attrgetter(*SUBTREE_COUNTERS)
_MOST_INT: Final = 2**63 - 1  # the largest integer that OTLP carries
_ZEROS: Final[dict[str, AttributeValue]] = {
    **dict.fromkeys((*_OWN, *_SUBTREE), 0),
    **dict.fromkeys((names.COST_USD, names.TOTAL_COST_USD), 0.0),
    names.BUDGET_EXCEEDED: False,
}
del _ZEROS[names.ESTIMATED_TOKENS]


def start_attributes(definition: StepDefinition, path: str, detail: str | None = None) -> dict[str, AttributeValue]:
    """What is declared of a step. A limit that OTLP cannot carry is shown as the largest number that it can."""
    attributes: dict[str, AttributeValue] = {
        names.STEP_NAME: definition.name,
        names.STEP_FUNCTION: definition.function,
        names.STEP_PATH: path,
    }
    if definition.model is not None:
        attributes[names.STEP_DEFAULT_MODEL] = definition.model
    if definition.error_boundary is not None:
        attributes[names.STEP_ERROR_BOUNDARY] = definition.error_boundary
    budget = definition.budget
    if budget.max_tokens is not None:
        attributes[names.STEP_MAX_TOKENS] = min(budget.max_tokens, _MOST_INT)
    if budget.max_usd is not None:
        attributes[names.STEP_MAX_USD] = float(budget.max_usd)
    if detail is not None:
        attributes[names.STEP_DETAIL] = detail
    if definition.agent is not None:
        attributes[names.AGENT_NAME] = definition.agent
    return attributes


class ShownTotals:
    """The totals that a step's span shows so far."""

    __slots__ = ("_shown",)

    def __init__(self) -> None:
        self._shown: dict[str, AttributeValue] = {}

    def show(self, span: Span, own: Tally, subtree: Tally, model: str | None, breached: str | None) -> None:
        """Write what has changed. What is still zero is written at the end.

        Args:
            span: the step's span, which records.
            own: what the step's own calls spent.
            subtree: the same with all nested steps.
            model: the model of the last call.
            breached: the limit that was crossed; None for none.
        """
        shown = self._shown
        cost_usd, total_usd = to_usd(own.cost_picousd), to_usd(subtree.cost_picousd)
        values = (*_own_counts(own), cost_usd, *_subtree_counts(subtree), total_usd)
        news: dict[str, AttributeValue] = {
            name: value for name, value in zip(_SHOWN, values, strict=True) if value != shown.get(name, 0)
        }
        if own.estimated_picousd:
            news[names.ESTIMATED_COST_USD] = to_usd(own.estimated_picousd)
        if model and model != shown.get(names.MODEL):
            news[names.MODEL] = model
        if breached is not None and names.BUDGET_LIMIT not in shown:
            news[names.BUDGET_EXCEEDED] = True
            news[names.BUDGET_LIMIT] = breached
        span.set_attributes(news)
        shown.update(news)

    def zeros(self) -> dict[str, AttributeValue]:
        """What has not been written, because it is zero."""
        shown = self._shown
        return {name: zero for name, zero in _ZEROS.items() if name not in shown}


def zeros_of(shown: ShownTotals | None) -> dict[str, AttributeValue]:
    """What a span does not show yet, because it is zero. `shown` None: it shows no totals."""
    return dict(_ZEROS) if shown is None else shown.zeros()
