"""What a step is declared to be: its name, model, budget and error boundary."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

_logger = logging.getLogger("otel_harn_steps")
_T = TypeVar("_T")

Scope = str
SCOPES: Final = ("step", "tree")
_TRUNCATED: Final = 0
_MOST_TOKENS: Final = 2**63 - 1  # what a span's attribute holds


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
        max_tokens: input and output tokens together.
        max_usd: US dollars. 0 is a limit: nothing may be spent.
    """

    max_tokens: int | None = None
    max_usd: float | Decimal | None = None

    def __post_init__(self) -> None:
        """Hold both limits to the rules of declarations.

        Raises:
            TypeError: a limit is not a number.
            ValueError: a limit is out of range.
        """
        object.__setattr__(self, "max_tokens", max_tokens_of(self.max_tokens))
        object.__setattr__(self, "max_usd", max_usd_of(self.max_usd))


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """A declared step. Immutable: a running step keeps the definition that it started with.

    `error_boundary` is kept as it was written, whatever it says; `boundary` is what it means. `metadata` holds
    further keys of a declaration (`approval`, `receipt`, `retry`, ...): kept and shown, not enforced.
    """

    name: str
    function: str
    model: str | None = None
    max_tokens: int | None = None
    max_usd: float | Decimal | None = None
    error_boundary: str | None = None
    fallback: object = None
    scope: Scope = "step"
    agent: str | None = None
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Hold the values to the rules of declarations, but for the boundary's text, which may be anything.

        Raises:
            TypeError, ValueError: a value is of the wrong type, or out of range.
        """
        for key in ("name", "function"):
            if not isinstance(getattr(self, key), str):
                raise TypeError(f"{key} must be a string, not {getattr(self, key)!r}")
        if (
            isinstance(self.max_tokens, bool) or self.max_tokens != _TRUNCATED
        ):  # 0 is what 0.5 was truncated to, and a limit
            object.__setattr__(self, "max_tokens", max_tokens_of(self.max_tokens))
        max_usd_of(self.max_usd)
        model_of(self.model)
        scope_of(self.scope)
        _text("error_boundary", self.error_boundary)

    @property
    def boundary(self) -> StepErrorBoundary:
        """What the error boundary means."""
        return StepErrorBoundary.of(self.error_boundary)

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget at all."""
        return self.max_tokens is not None or self.max_usd is not None


def max_tokens_of(value: object) -> int | None:
    """A limit in tokens: an int above 0, or a finite float above 0 truncated toward zero.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is not finite, or not above 0.
    """
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"max_tokens must be a number above 0, not {value!r}")
    if not math.isfinite(_as_float(value)) or value <= 0:
        raise ValueError(f"max_tokens must be a finite number above 0, not {value!r}")
    if value > _MOST_TOKENS:
        raise ValueError(f"max_tokens must be at most {_MOST_TOKENS}, which is more than a step can spend")
    return int(value)


def max_usd_of(value: object) -> float | Decimal | None:
    """A limit in US dollars: a finite number, 0 or more.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is not finite, or negative.
    """
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
    except OverflowError:  # an int beyond all floats
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
    text = _text("error_boundary", value)
    if text is not None and text not in tuple(StepErrorBoundary):
        raise ValueError(
            f"error_boundary must be one of {', '.join(map(repr, map(str, StepErrorBoundary)))}, not {value!r}"
        )
    return text


def scope_of(value: object) -> Scope:
    """What a budget covers: "step" or "tree".

    Raises:
        ValueError: `value` is neither.
    """
    if value not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(map(repr, SCOPES))}, not {value!r}")
    return str(value)


def agent_of(value: object) -> str | None:
    """The agent that the step belongs to.

    Raises:
        TypeError: `value` is not a string.
    """
    return _text("agent", value)


def _text(key: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {value!r}")
    return None if value is None else str(value)


def definition_from_dict(function: object, metadata: object) -> StepDefinition:
    """A definition from the dict form. Lenient: a bad value is ignored with one WARNING that names key and reason.

    Raises:
        TypeError: `function` is not a string, or `metadata` is not a mapping.
    """
    if not isinstance(function, str):
        raise TypeError(f"function must be a string, not {type(function).__name__}")
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}")

    def read(key: str, parse: Callable[[object], _T], value: object, default: _T) -> _T:
        try:
            return parse(value)
        except (TypeError, ValueError) as error:
            _logger.warning("step %r: %s is ignored: %s", function, key, error)
            return default

    rest = dict(metadata)
    name = rest.pop("name", None)
    if name is not None and not isinstance(name, str):
        _logger.warning("step %r: name is ignored: name must be a string, not %r", function, name)
    budget = rest.pop("budget", None)
    if budget is not None and not isinstance(budget, Mapping):
        _logger.warning("step %r: budget is ignored: budget must be a mapping, not %r", function, budget)
    limits = dict(budget) if isinstance(budget, Mapping) else {}
    definition = StepDefinition(
        name=name if isinstance(name, str) else function,
        function=function,
        model=read("model", model_of, rest.pop("model", None), None),
        max_tokens=read("budget.max_tokens", max_tokens_of, limits.pop("max_tokens", None), None),
        max_usd=read("budget.max_usd", max_usd_of, limits.pop("max_usd", None), None),
        error_boundary=read(
            "error_boundary", lambda value: _text("error_boundary", value), rest.pop("error_boundary", None), None
        ),
        fallback=rest.pop("fallback", None),
        scope=read("scope", scope_of, rest.pop("scope", "step"), "step"),
        agent=read("agent", agent_of, rest.pop("agent", None), None),
        metadata=MappingProxyType(rest),
    )
    for key, value in limits.items():
        _logger.warning(
            "step %r: budget.%s is ignored: a budget has max_tokens and max_usd, not %r", function, key, value
        )
    return definition
