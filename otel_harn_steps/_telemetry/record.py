"""What remains when a step has ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal

Status = Literal["completed", "failed", "skipped", "escalated", "cancelled"]


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """The record of one run of a step.

    `input_tokens`, `output_tokens`, `cost_usd` and `llm_calls` are what the step's own calls spent: they may be summed
    over records. The `total_*` fields hold the nested steps too and must never be summed. Costs are US dollars and
    leave out the `unpriced_calls`; tokens leave out what the provider did not tell (`unmetered_calls`). Times are
    nanoseconds since the epoch, ids are lowercase hex, `path` is the names from the outermost step to this one.
    """

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

    def to_dict(self) -> dict[str, Any]:
        """The record in plain JSON values. A number that is not finite becomes None."""
        return {name: _finite(getattr(self, name)) for name in _FIELDS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompletedStep:
        """The record that `to_dict` wrote. Keys of newer versions are left out.

        Raises:
            TypeError: one of the nine core fields is missing.
        """
        return cls(**{name: values[name] for name in _FIELDS if name in values})


_FIELDS = tuple(each.name for each in fields(CompletedStep))
# The same fields without freezing, which sets each of them through `object.__setattr__`: a sixth of a whole step.
_Draft: Callable[..., Any] = make_dataclass(
    "_Draft", [(each.name, Any, field(default=each.default)) for each in fields(CompletedStep)], slots=True
)


def completed_step(**values: Any) -> CompletedStep:
    """The record with these fields, made faster than by its class."""
    draft = _Draft(**values)
    draft.__class__ = CompletedStep
    record: CompletedStep = draft
    return record


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
