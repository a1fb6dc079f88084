"""What a step is declared to be: its name, model, budget and error boundary."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

from otel_harn_steps._arguments import text, text_or_none

_logger = logging.getLogger("otel_harn_steps")
_T = TypeVar("_T")

Scope = str
Detail = str | Callable[..., str | None] | None
"""What a run of a step is about, such as a ticket's number; or a function of its arguments that returns it."""
SCOPES: Final = ("step", "tree")
_NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


class StepErrorBoundary(StrEnum):
    """What a budget error does when it leaves the step."""

    FAIL = "fail"
    CONTINUE = "continue"
    ESCALATE = "escalate"

    @classmethod
    def of(cls, text: str | None) -> StepErrorBoundary:
        """The boundary that `text` means. Everything but exactly "continue" and "escalate" means fail."""
        return cls(text) if text in (cls.CONTINUE, cls.ESCALATE) else cls.FAIL


@dataclass(frozen=True, slots=True)
class Budget:
    """What a step may spend. Reaching a limit exactly is fine, crossing it is a breach.

    Args:
        max_tokens: input and output tokens together: a number above 0, truncated to an integer.
        max_usd: US dollars, 0 or more. 0 is a limit: nothing may be spent.

    Raises:
        TypeError: a limit is not a number.
        ValueError: a limit is out of range.
    """

    max_tokens: int | None = None
    max_usd: float | Decimal | None = None

    def __post_init__(self) -> None:
        """Check both limits, which happens once: a budget is never made of another one's numbers."""
        object.__setattr__(self, "max_tokens", _max_tokens_of(self.max_tokens))
        object.__setattr__(self, "max_usd", _max_usd_of(self.max_usd))

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_tokens is not None or self.max_usd is not None


LIMITS: Final = tuple(each.name for each in fields(Budget))
"""The names of a budget's limits."""


@dataclass(frozen=True, slots=True, init=False)
class StepDefinition:
    """A declared step. Immutable: a running step keeps the definition that it started with.

    `error_boundary` is kept as it was written, whatever it says; `boundary` is what it means. `metadata` holds
    further keys of a declaration (`approval`, `receipt`, `retry`, ...): kept and shown, not enforced.
    """

    name: str
    function: str
    model: str | None
    budget: Budget
    error_boundary: str | None
    fallback: object
    scope: Scope
    agent: str | None
    metadata: Mapping[str, object]
    detail: Detail

    def __init__(  # noqa: PLR0917 -- the house's order, which the dict form has too
        self,
        name: str,
        function: str,
        model: str | None = None,
        max_tokens: float | None = None,
        max_usd: float | Decimal | None = None,
        error_boundary: str | None = None,
        *,
        budget: Budget | Mapping[str, object] | None = None,
        fallback: object = None,
        scope: Scope = "step",
        agent: str | None = None,
        metadata: Mapping[str, object] = _NO_METADATA,
        detail: Detail = None,
    ) -> None:
        """Check every value but the boundary's text, which may be anything.

        Args:
            name: the step's name.
            function: the function that the step is.
            model: the model for calls that name none.
            max_tokens: limit of input and output tokens together.
            max_usd: limit in US dollars.
            error_boundary: what a budget error does when it leaves the step.
            budget: both limits, in place of `max_tokens` and `max_usd`.
            fallback: what the caller gets from a step that ended by "continue".
            scope: "step" or "tree".
            agent: the agent that the step belongs to.
            metadata: further keys.
            detail: what a run of the step is about, on its span and record alone; or a function of its arguments that
                returns it.

        Raises:
            TypeError, ValueError: a value is of the wrong type, or out of range.
        """
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {metadata!r}")
        values = {
            "name": text("name", name),
            "function": text("function", function),
            "model": model_of(model),
            "budget": budget_of(budget, max_tokens, max_usd),
            "error_boundary": text_or_none("error_boundary", error_boundary),
            "fallback": fallback,
            "scope": scope_of(scope),
            "agent": text_or_none("agent", agent),
            "metadata": MappingProxyType(dict(metadata)),
            "detail": _detail_of(detail),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def max_tokens(self) -> int | None:
        """The limit in tokens; None for no limit."""
        return self.budget.max_tokens

    @property
    def max_usd(self) -> float | Decimal | None:
        """The limit in US dollars; None for no limit."""
        return self.budget.max_usd

    @property
    def boundary(self) -> StepErrorBoundary:
        """What the error boundary means."""
        return StepErrorBoundary.of(self.error_boundary)


def budget_of(budget: object, max_tokens: object = None, max_usd: object = None) -> Budget:
    """The budget that a declaration gives, whole or as its limits.

    Raises:
        TypeError, ValueError: both are given, a limit is wrong, or a key is unknown.
    """
    if budget is None:
        return Budget(max_tokens, max_usd)  # type: ignore[arg-type]  # it checks them
    if max_tokens is not None or max_usd is not None:
        raise TypeError("a step takes a budget or its limits (max_tokens, max_usd), not both")
    if isinstance(budget, Budget):
        return budget
    if not isinstance(budget, Mapping):
        raise TypeError(f"budget must be a Budget or a mapping, not {budget!r}")
    for key in budget:
        if key not in LIMITS:
            raise ValueError(f"budget has {' and '.join(LIMITS)}, not {key!r}{did_you_mean(key, LIMITS)}")
    return Budget(budget.get("max_tokens"), budget.get("max_usd"))


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'max_usd'?`, where one of the known names is near; else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a mistake

    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _max_tokens_of(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"max_tokens must be a number above 0, not {value!r}")
    if not (isinstance(value, int) or math.isfinite(value)) or value <= 0:
        raise ValueError(f"max_tokens must be a finite number above 0, not {value!r}")
    return int(value)


def _max_usd_of(value: object) -> float | Decimal | None:
    if value is None:
        return None
    if not isinstance(value, (int, float, Decimal)) or isinstance(value, bool):
        raise TypeError(f"max_usd must be a number, 0 or more, not {value!r}")
    if not math.isfinite(_as_float(value)) or value < 0:
        raise ValueError(f"max_usd must be a finite number, 0 or more, not {value!r}")
    return value


def _as_float(value: float | Decimal) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):  # an int beyond all floats, a signalling NaN
        return math.inf


def model_of(value: object) -> str | None:
    """A default model.

    Raises:
        TypeError: `value` is not a string.
        ValueError: `value` is empty.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"model must be a string, not {value!r}")
    if not value:
        raise ValueError("model must not be empty; leave it out for a step without a default model")
    return value


def boundary_of(value: object) -> str | None:
    """An error boundary by name, as Python code may write it.

    Raises:
        TypeError: `value` is not a string.
        ValueError: `value` is none of the three.
    """
    boundary = text_or_none("error_boundary", value)
    if boundary is not None and boundary not in tuple(StepErrorBoundary):
        raise ValueError(
            f"error_boundary must be one of {', '.join(map(repr, map(str, StepErrorBoundary)))}, not {value!r}"
        )
    return boundary


def scope_of(value: object) -> Scope:
    """What a budget covers: "step" or "tree".

    Raises:
        ValueError: `value` is neither.
    """
    if value not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(map(repr, SCOPES))}, not {value!r}")
    return str(value)


def _detail_of(value: object) -> Detail:
    if value is None or isinstance(value, str) or callable(value):
        return value
    raise TypeError(f"detail must be a string, or a function of the step's arguments that returns one, not {value!r}")


def _limit(name: str, value: object) -> Any:
    """`value`, if a budget may have it as the limit of that name."""
    Budget(**{name: value})  # type: ignore[arg-type]  # it checks them
    return value


def definition_from_dict(function: object, metadata: object) -> StepDefinition:
    """A definition from the dict form. Lenient: a bad value is ignored with one WARNING that names key and reason.

    Raises:
        TypeError: `function` is not a string, or `metadata` is not a mapping.
    """
    if not isinstance(function, str):
        raise TypeError(f"function must be a string, not {type(function).__name__}")
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}")

    def accepted(key: str, parse: Callable[[object], _T], value: object, default: _T) -> _T:
        try:
            return parse(value)
        except (TypeError, ValueError) as error:
            _logger.warning("step %r: %s is ignored: %s", function, key, error)
            return default

    rest = dict(metadata)
    name = accepted("name", partial(text_or_none, "name"), rest.pop("name", None), None)
    boundary = accepted(
        "error_boundary", lambda value: text_or_none("error_boundary", value), rest.pop("error_boundary", None), None
    )
    fallback = rest.pop("fallback", None)
    if fallback is not None and StepErrorBoundary.of(boundary) is not StepErrorBoundary.CONTINUE:
        _logger.warning("step %r: fallback is ignored: only error_boundary 'continue' delivers one", function)
        fallback = None
    budget = rest.pop("budget", None)
    if budget is not None and not isinstance(budget, Mapping):
        _logger.warning("step %r: budget is ignored: budget must be a mapping, not %r", function, budget)
    limits = dict(budget) if isinstance(budget, Mapping) else {}
    given = {
        limit: accepted(f"budget.{limit}", partial(_limit, limit), limits.pop(limit, None), None) for limit in LIMITS
    }
    for key in limits:
        # A misspelt limit is no limit: that has to be seen.
        _logger.error(
            "step %r: budget.%s is ignored: a budget has %s, not %r%s",
            function,
            key,
            " and ".join(LIMITS),
            key,
            did_you_mean(key, LIMITS),
        )
    return StepDefinition(
        name=function if name is None else name,
        function=function,
        model=accepted("model", model_of, rest.pop("model", None), None),
        error_boundary=boundary,
        budget=Budget(**given),
        fallback=fallback,
        scope=accepted("scope", scope_of, rest.pop("scope", "step"), "step"),
        agent=accepted("agent", partial(text_or_none, "agent"), rest.pop("agent", None), None),
        detail=accepted("detail", partial(text_or_none, "detail"), rest.pop("detail", None), None),
        metadata=rest,
    )
