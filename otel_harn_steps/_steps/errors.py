"""The errors that the package raises on purpose.

BaseException
 ├── Exception
 │    ├── StepBudgetExceeded    a step spent more than its budget, or was refused a call
 │    └── StepEscalated         a budget error that left a step whose boundary is "escalate"
 └── StepBudgetStop             a refused call in a loop that does not take no for an answer
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from typing import Final, Literal

from otel_harn_steps._arguments import text_or_none
from otel_harn_steps._cost.money import to_usd

BudgetOf = Literal["step", "run", "agent", "label", "test"]
_KIND: Final = "budget_exhausted"
_REASON: Final = "step_budget_exhausted"
_CATEGORY: Final = "budget_exceeded"
_ESCALATED_CATEGORY: Final = "handoff_escalation"
_LONGEST_VALUE: Final = 80
_IN_USD: Final = frozenset({"max_usd", "max_cost_per_call"})
# Of a budget error: the owner lives in one process, the response may not travel, and the rest are its arguments.
_OWN_FACTS: Final = frozenset(
    {
        "step", "function", "limit", "limit_value", "consumed_tokens", "consumed_cost_usd", "error_boundary", "detail",
        "consumed", "projected_tokens", "projected_cost_usd", "response", "partial", "owner", "budget_of",
        "label",
    }
)  # fmt: skip


class StepBudgetExceeded(Exception):  # noqa: N818 -- the name of the public API; it says what happened
    """A step has crossed a limit of its budget.

    Attributes:
        step: the step's name.
        function: the step's function.
        limit: the limit's name: "max_tokens", "max_usd", "max_calls", ...
        limit_value: the limit, in its own unit: tokens, US dollars, calls, seconds, repetitions.
        consumed_tokens: input and output tokens that the budget has seen.
        consumed_cost_usd: US dollars that the budget has seen.
        consumed: what has crossed the limit, in its unit.
        projected_tokens, projected_cost_usd: of a call that was refused because there was no room for it: what the
            budget would have seen after it at most. None for other errors.
        error_boundary: the boundary as it was written; "fail" if none was.
        response: the provider's answer to the call that crossed, already paid for. None for streams and refused calls.
        partial: the text that had come of a stream that was stopped. It stays in this process.
        detail: the message, where the numbers do not say what happened.
        owner: the active step whose budget it is, or the run or agent, in the process that it ran in.
        budget_of: whose budget it is: "step", "run", "agent", "label" or "test". Of all but the first, `step` and
            `function` are the name.
        label: the label and the value whose budget it is, as in `("tenant", "acme")`. None for others.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    def __init__(
        self,
        *,
        step: str,
        function: str,
        limit: str,
        limit_value: float,
        consumed_tokens: int,
        consumed_cost_usd: float,
        error_boundary: str | None = None,
        consumed: float | None = None,
        projected_tokens: int | None = None,
        projected_cost_usd: float | None = None,
        response: object = None,
        detail: str | None = None,
        owner: object = None,
        budget_of: BudgetOf = "step",
        label: tuple[str, str] | None = None,
    ) -> None:
        self.step = step
        self.function = function
        self.limit = limit
        self.limit_value = limit_value
        self.consumed_tokens = consumed_tokens
        self.consumed_cost_usd = consumed_cost_usd
        self.error_boundary = "fail" if error_boundary is None else error_boundary
        self.consumed = self._of_known_limit() if consumed is None else consumed
        self.projected_tokens = projected_tokens
        self.projected_cost_usd = projected_cost_usd
        self.response = response
        self.partial: str | None = None
        self.budget_of: BudgetOf = budget_of
        self.label = label
        self.detail = detail
        # The active step whose budget it is: an enclosing boundary knows its own breach by it.
        self.owner = owner
        self._is_accepted = False
        super().__init__(detail or self._sentence())

    def accept(self) -> None:
        """Take responsibility: the step whose budget it is does not raise it again at its end.

        The step stays exhausted, and its record says so. Without this, a budget error that the step's body swallowed
        is raised at the step's end, unless its boundary is "continue".
        """
        self._is_accepted = True
        breach = getattr(self.owner, "breach", None)
        if breach is not None and breach is not self:
            breach._is_accepted = True

    @property
    def is_accepted(self) -> bool:
        """Whether `accept()` was called on it, or on a refusal that came of it."""
        return self._is_accepted

    @property
    def projected(self) -> bool:
        """Whether the call was refused because there was no room for it. Smaller calls may still have some."""
        return self.projected_tokens is not None

    def _of_known_limit(self) -> float:
        return self.consumed_cost_usd if self.limit == "max_usd" else self.consumed_tokens

    def _sentence(self) -> str:
        spent, allowed = _in_unit(self.limit, self.consumed), _in_unit(self.limit, self.limit_value)
        whose, which = f"{self.budget_of} `{self.step}`", f"{self.limit} budget"
        if self.label is not None:
            whose, which = label_text(*self.label), f"{which} `{self.step}`"
        if self.projected:
            return f"{whose} has no room in its {which} for a call (up to {spent} > {allowed})"
        return f"{whose} exceeded {which} ({spent} > {allowed})"

    def as_dict(self) -> dict[str, object]:
        """Everything that the error knows, in plain values."""
        return {
            "category": _CATEGORY,
            "kind": _KIND,
            "reason": _REASON,
            "step": self.step,
            "function": self.function,
            "limit": self.limit,
            "limit_value": float(self.limit_value),
            "consumed_tokens": float(self.consumed_tokens),
            "consumed_cost_usd": float(self.consumed_cost_usd),
            "error_boundary": self.error_boundary,
            "message": str(self),
            **self._projection(),
            **({} if self.label is None else dict(zip(("label", "label_value"), self.label, strict=True))),
        }

    def _projection(self) -> dict[str, object]:
        if not self.projected:
            return {}
        return {
            "projected": True,
            "projected_tokens": self.projected_tokens,
            "projected_cost_usd": self.projected_cost_usd,
        }

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the response: the error must cross process boundaries whatever the client returned.

        Its notes go with it, and of what the app has put on it all that can be pickled.
        """
        return (
            _rebuild_exceeded,
            (
                {
                    "step": self.step,
                    "function": self.function,
                    "limit": self.limit,
                    "limit_value": self.limit_value,
                    "consumed_tokens": self.consumed_tokens,
                    "consumed_cost_usd": self.consumed_cost_usd,
                    "error_boundary": self.error_boundary,
                    "consumed": self.consumed,
                    "projected_tokens": self.projected_tokens,
                    "projected_cost_usd": self.projected_cost_usd,
                    "detail": self.detail,
                    "budget_of": self.budget_of,
                    "label": self.label,
                },
            ),
            _travelling(self, _OWN_FACTS),
        )


def label_text(name: str, value: str) -> str:
    """A label in a message. What is long is cut: a message is kept in many places."""
    return f"{name} `{value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + '...'}`"


def _in_unit(limit: str, value: float) -> str:
    if limit in _IN_USD:
        return f"${value:.6f}"
    return f"{value:.1f} s" if limit == "max_seconds" else f"{value:.0f}"


def _rebuild_exceeded(facts: dict[str, object]) -> StepBudgetExceeded:
    return StepBudgetExceeded(**facts)  # type: ignore[arg-type]  # the facts are those that __reduce__ wrote


class StepBudgetStop(BaseException):
    """A refused call, where several before it were refused: code that tries again whatever is raised lets this pass.

    No `Exception`, so `except Exception` does not catch it. The edge of the step whose budget it is makes the
    `StepBudgetExceeded` of it again, and its boundary decides. `error` is that.
    """

    def __init__(self, error: StepBudgetExceeded) -> None:
        super().__init__(str(error))
        self.error = error

    def as_dict(self) -> dict[str, object]:
        """The facts of the error."""
        return self.error.as_dict()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the error, and what the app has put on this one."""
        return StepBudgetStop, (self.error,), _travelling(self, ("error",))


class StepEscalated(Exception):  # noqa: N818 -- as above
    """A budget error that its step's boundary hands to a person or a handler. Raised from the original error.

    It passes through every enclosing boundary. `error` is the original, with its `response`.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    def __init__(self, error: BaseException | None = None, facts: Mapping[str, object] | None = None) -> None:
        self.error = error
        self._facts = dict(facts) if facts is not None else mark_escalated(error if error is not None else {})
        super().__init__(str(self._facts.get("message", error)))

    @property
    def step(self) -> object:
        """The name of the step whose budget was crossed."""
        return self._facts.get("step")

    @property
    def function(self) -> object:
        """The function of the step whose budget was crossed."""
        return self._facts.get("function")

    @property
    def response(self) -> object:
        """The provider's answer to the call that crossed, where there is one."""
        return getattr(self.error, "response", None)

    def as_dict(self) -> dict[str, object]:
        """The original error's facts, marked as escalated."""
        return dict(self._facts)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the facts and the original error, and what the app has put on this one."""
        return StepEscalated, (self.error, self._facts), _travelling(self, ("error", "_facts"))


def _travelling(error: BaseException, left_out: Collection[str]) -> dict[str, object]:
    """What else an error has that can be pickled: notes, what the app has put on it."""
    return {name: value for name, value in vars(error).items() if name not in left_out and _can_be_pickled(value)}


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 -- whatever a class of the app's raises: the error must travel all the same
        return False
    return True


def facts_of(error: object) -> Mapping[str, object]:
    """The facts of an error of ours, or of a mapping that carries them. Empty for everything else."""
    if isinstance(error, Mapping):
        return error
    if isinstance(error, (StepBudgetExceeded, StepBudgetStop, StepEscalated)):
        return error.as_dict()
    return {}


def is_step_budget_exhausted(error: object) -> bool:
    """Whether `error` (an exception, or a mapping of its facts) says that a step's budget is spent, by its content."""
    facts = facts_of(error)
    return (facts.get("kind") == _KIND and facts.get("reason") == _REASON) or facts.get("category") == _CATEGORY


def mark_escalated(error: object, step: str | None = None, function: str | None = None) -> dict[str, object]:
    """A copy of the facts of `error`, marked as escalated. `step` and `function` fill in only what is absent.

    Raises:
        TypeError: `step` or `function` is not a string.
    """
    facts = dict(facts_of(error))
    facts["escalated"] = True
    facts["category"] = _ESCALATED_CATEGORY
    for key, value in (("step", step), ("function", function)):
        if text_or_none(key, value) is not None:
            facts.setdefault(key, value)
    return facts


def unpriced_detail(whose: str, model: str | None, limit_picousd: int) -> str:
    """The message where a dollar budget cannot be held because the price of a model is unknown."""
    return (
        f"{whose} has a max_usd budget of ${to_usd(limit_picousd):.6f}, but the price of model `{model}` is "
        'unknown; give one with instrument(prices={...}) or allow unpriced calls with instrument(unpriced="ignore")'
    )


def unmetered_detail(whose: str, model: str | None, limit: str) -> str:
    """The message where a budget cannot be held because nobody reported what a call used."""
    return (
        f"{whose} has a {limit} budget, but the usage of a call to model `{model}` was not reported; "
        'allow such calls with instrument(unmetered="ignore")'
    )


def loop_detail(step: str, times: int) -> str:
    """The message where a step goes round in circles."""
    return f"step `{step}` repeats itself: the same requests got the same answers {times} times in a row (loop={times})"


def ended_detail(run: str, limit: str) -> str:
    """The message where a run has ended, and this call alone would have had room."""
    return f"run `{run}` has ended: its {limit} budget had no room for an earlier call"
