"""What a step is declared to be: its name, model, budget and error boundary."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

from otel_harn_steps._arguments import did_you_mean, text, text_or_none
from otel_harn_steps._steps.budget import KEYS, NO_BUDGET, Budget, budget_of, checked_value

_logger = logging.getLogger("otel_harn_steps")
_T = TypeVar("_T")

Scope = str
Detail = str | Callable[..., str | None] | None
"""What a run of a step is about, such as a ticket's number; or a function of its arguments that returns it."""
SCOPES: Final = ("step", "tree")
_NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


class StepErrorBoundary(StrEnum):
    """What a budget error does when it leaves the step."""

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    FAIL = "fail"
    CONTINUE = "continue"
    ESCALATE = "escalate"
    PAUSE = "pause"

    @classmethod
    def of(cls, text: str | None) -> StepErrorBoundary:
        """The boundary that `text` means. Everything that is none, to the letter, means fail."""
        return cls(text) if text in (cls.CONTINUE, cls.ESCALATE, cls.PAUSE) else cls.FAIL


class _Prepared:
    """What is prepared once for all runs of a step, and is no part of its definition.

    Attributes:
        on_span: kept for `_steps.span`, and read there alone. Not set: nothing is prepared.
    """

    __slots__ = ("on_span",)

    on_span: Any


@dataclass(frozen=True, slots=True, init=False)
class StepDefinition(_Prepared):
    """A declared step. Immutable: a running step keeps the definition that it started with.

    `error_boundary` is kept as it was written, whatever it says; `boundary` is what it means. `metadata` holds
    further keys of a declaration (`approval`, `receipt`, `retry`, ...): kept and shown, not enforced.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

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
        **limits: object,
    ) -> None:
        """Check every value but the boundary's text, which may be anything.

        Args:
            name: the step's name.
            function: the function that the step is.
            model: the model for calls that name none.
            max_tokens: limit of input and output tokens together.
            max_usd: limit in US dollars.
            error_boundary: what a budget error does when it leaves the step.
            budget: all limits, in place of those that are given one by one.
            fallback: what the caller gets from a step that ended by "continue"; a function is called for it, with the
                error and the partial answer.
            scope: "step" or "tree".
            agent: the agent that the step belongs to.
            metadata: further keys.
            detail: what a run of the step is about, on its span and record alone; or a function of its arguments that
                returns it.
            limits: what else a `Budget` may have.

        Raises:
            TypeError, ValueError: a value is of the wrong type, or out of range.
        """
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {metadata!r}")
        for key in limits:
            if key not in KEYS:
                raise TypeError(f"a step has no {key!r}{did_you_mean(key, KEYS)}")
        if max_tokens is not None:
            limits["max_tokens"] = max_tokens
        if max_usd is not None:
            limits["max_usd"] = max_usd
        values = {
            "name": text("name", name),
            "function": text("function", function),
            "model": model_of(model),
            "budget": budget_of(budget, limits) if limits or budget is not None else NO_BUDGET,
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
        key: accepted(f"budget.{key}", partial(checked_value, key), limits.pop(key), None)
        for key in KEYS
        if key in limits
    }
    for key in limits:
        # A misspelt limit is no limit: that has to be seen.
        _logger.error(
            "step %r: budget.%s is ignored: a budget has %s, not %r%s",
            function,
            key,
            ", ".join(KEYS),
            key,
            did_you_mean(key, KEYS),
        )
    return StepDefinition(
        name=function if name is None else name,
        function=function,
        model=accepted("model", model_of, rest.pop("model", None), None),
        error_boundary=boundary,
        budget=budget_of(None, given),
        fallback=fallback,
        scope=accepted("scope", scope_of, rest.pop("scope", "step"), "step"),
        agent=accepted("agent", partial(text_or_none, "agent"), rest.pop("agent", None), None),
        detail=accepted("detail", partial(text_or_none, "detail"), rest.pop("detail", None), None),
        metadata=rest,
    )
