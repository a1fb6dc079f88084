"""The `budget` of a step in the configuration file: all that a `Budget` may have, by the same keys."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, model_validator

from otel_harn_steps._steps.budget import HARD_STOP_AFTER, LIMITS, WAIT_SECONDS, Mode, OnContention, Preflight
from otel_harn_steps._steps.label_budgets import LABEL_LIMITS, NOT_OF_A_LABEL, Window
from otel_harn_steps._steps.thresholds import thresholds_of
from otel_harn_steps.config._tables import TABLE, Allowed, mistake

_USD: Final = Field(ge=0, allow_inf_nan=False)
_SECONDS: Final = Field(gt=0, allow_inf_nan=False)
_TRUTH: Final = Allowed("true or false")


def _is_threshold(share: str, action: str) -> bool:
    try:
        thresholds_of({share: action})
    except ValueError:
        return False
    return True


class BudgetTable(BaseModel):
    """What a step may spend. Reaching a limit exactly is fine, crossing it is a breach."""

    model_config = TABLE

    max_tokens: (
        Annotated[int, Field(gt=0), Allowed("a whole number above 0: input and output tokens together")] | None
    ) = None
    """Input and output tokens together."""
    max_usd: (
        Annotated[float, _USD, Allowed("a number, 0 or more: US dollars; 0 means that nothing may be spent")] | None
    ) = None
    """US dollars. 0 is a limit: nothing may be spent."""
    max_input_tokens: Annotated[int, Field(gt=0), Allowed("a whole number above 0: input tokens")] | None = None
    """Input tokens, cached ones included."""
    max_output_tokens: Annotated[int, Field(gt=0), Allowed("a whole number above 0: output tokens")] | None = None
    """Output tokens, reasoning included."""
    max_calls: Annotated[int, Field(gt=0), Allowed("a whole number above 0: calls to models")] | None = None
    """Calls to models. One more is refused before it is sent."""
    max_seconds: Annotated[float, _SECONDS, Allowed("a number above 0: seconds")] | None = None
    """Seconds from the step's start. Later calls are refused, and running streams are stopped where `stop_streams` is
    true.
    """
    max_cost_per_call: Annotated[float, _USD, Allowed("a number, 0 or more: US dollars for one call")] | None = None
    """US dollars that one call may cost."""
    loop: Annotated[int, Field(ge=2), Allowed("a whole number, 2 or more: repetitions")] | None = None
    """As many times the same request with the same answer, or the same sequence of up to four such, is a loop."""
    preflight: Annotated[Preflight, Allowed('"exhausted" or "reserve"')] = "reserve"
    """What is asked before a call is sent: `exhausted`, whether a limit has been crossed; `reserve`, also whether there
    is room for what the call may spend, with what the calls in flight may spend.
    """
    on_contention: Annotated[OnContention, Allowed('"refuse" or "wait"')] = "wait"
    """What happens to a call for which there is no room only as long as others are in flight: `refuse`, or `wait` for
    them.
    """
    wait_seconds: Annotated[float, _SECONDS, Allowed("a number above 0: seconds")] = WAIT_SECONDS
    """How long a call waits at most, in seconds."""
    cap_output: Annotated[bool, _TRUTH] = False
    """Whether the call's own maximum of output tokens is lowered to what there is room for."""
    stop_streams: Annotated[bool, _TRUTH] | None = None
    """Whether a stream is stopped when its budget cannot be met any more. Default: true where `preflight` is `reserve`.
    """
    hard_stop_after: Annotated[int, Field(ge=0), Allowed("a whole number, 0 or more: refused calls")] = HARD_STOP_AFTER
    """After as many refused calls in one run of a step, the next refusal is a `StepBudgetStop`, which
    `except Exception` does not catch.
    """
    mode: Annotated[Mode, Allowed('"enforce" or "shadow"')] = "enforce"
    """`shadow` stops nothing, and records what would have been stopped."""

    at: (
        Annotated[dict[str, str], Allowed('a table of actions by share of a limit, as in { "0.8" = "notify" }')] | None
    ) = None
    """What happens when a share of a limit is spent: `notify` calls the app's `on_budget_threshold`, `downgrade:MODEL`
    is for calls that name no model, `tell` tells the model of a framework what is left. A share is written in quotes.
    """

    @model_validator(mode="after")
    def _thresholds_can_be_reached(self) -> BudgetTable:
        for share, action in (self.at or {}).items():
            if not _is_threshold(share, "notify"):
                raise mistake('must be a number between 0 and 1 in quotes, as in "0.8"', "at", share)
            if not _is_threshold(share, action):
                raise mistake('must be "notify", "downgrade:MODEL" or "tell"', "at", share)
        return self

    @model_validator(mode="after")
    def _cap_can_be_known(self) -> BudgetTable:
        if self.cap_output and self.preflight != "reserve":
            raise mistake('has a meaning only with preflight = "reserve"', "cap_output")
        return self

    def planned(self) -> dict[str, Any]:
        """This budget in plain values, as `Budget` takes them."""
        return self.model_dump(exclude_none=True)


class LabelBudgetTable(BudgetTable):
    """What each value of a label may spend in a window: the calls that have the label, wherever they are made."""

    key: Annotated[str, Field(min_length=1), Allowed('the name of a label, as in "tenant"')]
    """The label. Each of its values has the budget for itself; a call without the label is not bounded by it."""
    window: Annotated[Window, Allowed('"run", "hour", "day" or "month"')] = "run"
    """How long what is spent counts: for a `run` of the program, or for an `hour`, `day` or `month` of UTC."""

    @model_validator(mode="after")
    def _is_of_a_label(self) -> LabelBudgetTable:
        for limit in NOT_OF_A_LABEL:
            if getattr(self, limit) is not None:
                raise mistake("has no meaning for a label: it is about one run of a step", limit)
        return self


def limited_label(table: LabelBudgetTable) -> LabelBudgetTable:
    """The budget of a label, which has a limit."""
    if all(getattr(table, name) is None for name in LABEL_LIMITS):
        raise mistake(f"has none of the limits {', '.join(LABEL_LIMITS)}")
    return table


def limited(table: BudgetTable) -> BudgetTable:
    """The budget of something that is named for its budget alone: it has a limit."""
    if all(getattr(table, name) is None for name in LIMITS):
        raise mistake(f"has none of the limits {', '.join(LIMITS)}")
    return table
