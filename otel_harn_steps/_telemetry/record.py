"""What remains when a step has ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from operator import attrgetter
from typing import Any, Literal

from otel_harn_steps._cost.money import to_usd

Status = Literal["completed", "failed", "skipped", "escalated", "cancelled", "running"]
"""How a step ended. `running`: it has not; only the amendment of another process says so."""


@dataclass(frozen=True, slots=True)
class ModelSpend:
    """What the own calls of a step spent with one model of one provider. `model` None: no model was named."""

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    provider: str
    model: str | None
    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    observed_calls: int = 0
    estimated_tokens: int = 0
    estimated_cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """The record of one run of a step.

    `input_tokens`, `output_tokens`, `cost_usd` and `llm_calls` are what the step's own calls spent: they may be summed
    over records. The `total_*` fields hold the nested steps too and must never be summed. Costs are US dollars and
    leave out the `unpriced_calls`; tokens leave out what the provider did not report (`unmetered_calls`). Times are
    nanoseconds since the epoch, ids are lowercase hex, `path` is the names from the outermost step to this one.

    Attributes:
        run_id: the run that the step is part of: always there.
        step_id: the step's own id: always there; its span's id where it has a span.
        parent_id: the id of the step around it.
        agent: the agent that the step belongs to: its own, else that of the step around it.
        labels: those in force where it was entered.
        breach: the limit that was crossed: "max_tokens", "max_usd", "max_calls", ... None for none.
        by_model: the split of its own spend.
        estimated_tokens, estimated_cost_usd: what a budget assumed for what nobody reported. In no other field.
        open_calls: calls that had been sent and had not ended when the step did. Amendments bring what they spend.
        price_book: where its prices are from, with the version.
        amends: the `step_id` of the step that this record amends: it holds only what came after that step's own
            record, or from another process, and is no run of the step. None for a step's own record.
        detail: what this run of the step was about: `step(detail=...)`.
        budget_events: what was done about its budget, oldest first: "notified:0.5", "downgraded:gpt-5-nano",
            "told:0.9", "raised:max_usd=2", "would have stopped:max_usd".
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    name: str
    function: str
    model: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    llm_calls: int
    status: Status
    error: str | None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_cost_usd: float = 0.0
    total_llm_calls: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    max_tokens: int | None = None
    max_usd: float | None = None
    error_boundary: str | None = None
    start_time: int = 0
    end_time: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    parent_step: str | None = None
    path: str = ""
    observed_calls: int = 0
    run_id: str = ""
    step_id: str = ""
    parent_id: str | None = None
    agent: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    breach: str | None = None
    by_model: tuple[ModelSpend, ...] = ()
    estimated_tokens: int = 0
    estimated_cost_usd: float = 0.0
    open_calls: int = 0
    price_book: str | None = None
    amends: str | None = None
    detail: str | None = None
    budget_events: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record in plain JSON values. A number that is not finite becomes None."""
        values = dict(zip(_FIELDS, _get_fields(self), strict=True))
        for name in _MADE_PLAIN:
            values[name] = _plain(values[name])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompletedStep:
        """The record that `to_dict` wrote. Keys of newer versions are left out.

        Raises:
            TypeError: one of the nine core fields is missing.
        """
        known = {name: values[name] for name in _FIELDS if name in values}
        if "by_model" in known:
            known["by_model"] = tuple(
                ModelSpend(**{name: each[name] for name in _SPEND_FIELDS if name in each}) for each in known["by_model"]
            )
        if "budget_events" in known:
            known["budget_events"] = tuple(map(str, known["budget_events"] or ()))
        return cls(**known)


_SPEND_FIELDS = tuple(each.name for each in fields(ModelSpend))
_FIELDS = tuple(each.name for each in fields(CompletedStep))
_get_fields = attrgetter(*_FIELDS)
_MADE_PLAIN = tuple(
    each.name for each in fields(CompletedStep) if any(kind in str(each.type) for kind in ("float", "Mapping", "tuple"))
)


# The same fields without freezing, which sets each of them through `object.__setattr__`: a sixth of a whole step.
def _draft_of(kind: type[Any]) -> Callable[..., Any]:
    made = [
        (each.name, Any, field(default=each.default, default_factory=each.default_factory)) for each in fields(kind)
    ]
    return make_dataclass("_Draft", made, slots=True)


_RecordDraft, _SpendDraft = _draft_of(CompletedStep), _draft_of(ModelSpend)


def completed_step(**values: Any) -> CompletedStep:
    """The record with these fields, made faster than by its class."""
    draft = _RecordDraft(**values)
    draft.__class__ = CompletedStep
    record: CompletedStep = draft
    return record


def model_spend(provider: str, model: str | None, tally: Any) -> ModelSpend:
    """What a tally holds of one model's calls."""
    draft = _SpendDraft(
        provider,
        model,
        tally.llm_calls,
        tally.input_tokens,
        tally.output_tokens,
        tally.cache_read_tokens,
        tally.cache_write_tokens,
        tally.reasoning_tokens,
        to_usd(tally.cost_picousd),
        tally.unpriced_calls,
        tally.unmetered_calls,
        tally.observed_calls,
        tally.estimated_tokens,
        to_usd(tally.estimated_picousd) if tally.estimated_picousd else 0.0,
    )
    draft.__class__ = ModelSpend
    spend: ModelSpend = draft
    return spend


def _plain(value: object) -> object:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is tuple:
        return [each if type(each) is str else {name: getattr(each, name) for name in _SPEND_FIELDS} for each in value]
    return dict(value) if isinstance(value, Mapping) else value
