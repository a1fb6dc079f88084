"""The ledger's rows: one for each call, from the moment it is sent. Numbers and names, never content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from operator import attrgetter
from typing import Any, Final, Literal

from otel_harn_steps._cost.values import value

Outcome = Literal["open", "answered", "cut", "failed", "refused", "void"]
"""How a call ended. `open`: it has been sent, and has not ended.

`answered` and `cut` (a stream or an answer that broke off) are billed, so that `llm_calls` counts them. The others are
not: `failed` (the provider rejected it, or it never left), `refused` (a budget did not let it out), `void` (it turned
out to be no call: a cache answered, or it looked at a job).
"""

BILLED: Final = frozenset({"answered", "cut"})
"""The outcomes of calls that count."""

Certainty = Literal["measured", "reported", "observed", "estimated", "unknown"]
"""Where the numbers of a call are from.

`measured`: the provider's own count of tokens. `reported`: its own cost too. `observed`: another instrumentation's
span. `estimated`: a part of them is estimated for a budget, in the `estimated_*` fields. `unknown`: no usage was
reported.
"""

NO_STEP: Final = "(no step)"
"""What tables and metrics call the spend that no step claims."""


@value
class CallRow:
    """One call to a model.

    Tokens are those of `CompletedStep`: cached ones are part of the input, reasoning is part of the output; None is
    unknown. Costs are integers of pico-dollars (10^-12 US dollars). Times are nanoseconds since the epoch, durations
    are nanoseconds, ids are lowercase hex. Estimates are kept apart: no other field holds a part of them.

    Attributes:
        call_id: this call's own.
        run_id: of the run that it is part of: always there, also where no run was opened.
        step_id: the step that it is billed to. None: no step claims it.
        parent_id: the step around that step.
        step: that step's name; `(no step)` where no step claims it.
        path: that step's path; empty where no step claims it.
        sent_at: when it was sent.
        provider: who bills it, as in `gen_ai.provider.name`.
        operation: as in `gen_ai.operation.name`.
        details: further counts that have a price of their own and are not 0, by the name that they have in `price()`.
        terms: what else decided the price, such as `{"service_tier": "flex"}`.
        cost_picousd: None for an unknown price, or where nothing was billed.
        price_book: where the price is from, and its version: `genai-prices 0.2.3`.
        late: whether it ended after its step had, or in another process: an amendment carries it to that step.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    call_id: str
    run_id: str
    step_id: str | None
    parent_id: str | None
    step: str
    path: str
    agent: str | None
    labels: Mapping[str, str]
    sent_at: int
    provider: str
    operation: str
    requested_model: str | None
    outcome: Outcome = "open"
    duration_ns: int | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    details: Mapping[str, int] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)
    cost_picousd: int | None = None
    certainty: Certainty = "unknown"
    price_book: str | None = None
    estimated_tokens: int = 0
    estimated_cost_picousd: int = 0
    late: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The row in plain JSON values."""
        return _plain(_CALL_FIELDS, _get_call_fields(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CallRow:
        """The row that `to_dict` wrote. Keys of newer versions are left out.

        Raises:
            TypeError: a field without a default is missing.
        """
        return cls(**{name: values[name] for name in _CALL_FIELDS if name in values})


@value
class StartedStep:
    """A step that has been entered: what is known of it then. The fields mean what they mean in `CompletedStep`."""

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    step_id: str
    run_id: str
    parent_id: str | None
    name: str
    function: str
    path: str
    start_time: int
    model: str | None = None
    agent: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    max_usd: float | None = None
    error_boundary: str | None = None
    trace_id: str | None = None
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The step in plain JSON values."""
        return _plain(_STEP_FIELDS, _get_step_fields(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StartedStep:
        """The step that `to_dict` wrote. Keys of newer versions are left out.

        Raises:
            TypeError: a field without a default is missing.
        """
        return cls(**{name: values[name] for name in _STEP_FIELDS if name in values})


_CALL_FIELDS: Final = tuple(each.name for each in fields(CallRow))
_STEP_FIELDS: Final = tuple(each.name for each in fields(StartedStep))
_get_call_fields, _get_step_fields = attrgetter(*_CALL_FIELDS), attrgetter(*_STEP_FIELDS)
_MAPPINGS: Final = ("labels", "details", "terms")


def _plain(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    plain = dict(zip(names, values, strict=True))
    for name in _MAPPINGS:
        if name in plain:
            plain[name] = dict(plain[name])
    return plain
