"""What a step, or a program, may spend, and how its budget is held."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import lru_cache
from operator import or_
from typing import Any, Final, Literal, NamedTuple, TypedDict

from otel_harn_steps._arguments import did_you_mean
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._steps.thresholds import Threshold, thresholds_of

Preflight = Literal["exhausted", "reserve"]
OnContention = Literal["refuse", "wait"]
Mode = Literal["enforce", "shadow"]

HARD_STOP_AFTER: Final = 3
WAIT_SECONDS: Final = 60.0

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "preflight": ("exhausted", "reserve"),
    "on_contention": ("refuse", "wait"),
    "mode": ("enforce", "shadow"),
}


class Limits(TypedDict, total=False):
    """What a budget may have, by its key. `Budget` says what each means."""

    max_tokens: float | None
    max_usd: float | Decimal | None
    max_input_tokens: float | None
    max_output_tokens: float | None
    max_calls: float | None
    max_seconds: float | None
    max_cost_per_call: float | Decimal | None
    loop: int | None
    preflight: Preflight
    on_contention: OnContention
    wait_seconds: float
    cap_output: bool
    stop_streams: bool | None
    hard_stop_after: int
    mode: Mode
    at: Mapping[Any, str] | None


KEYS: Final = tuple(Limits.__annotations__)
"""What a budget may have."""
LIMITS: Final = KEYS[: KEYS.index("preflight")]
"""The names of a budget's limits."""


class Wants(NamedTuple):
    """What some budgets want of the calls that they cover.

    Attributes:
        watches_loops: whether one of them is for calls that repeat.
        holds: whether calls in flight matter to one of them.
        projects: whether one of them wants to know what a call may spend.
        reserves: whether one of them wants room for that.
        is_looked_at: whether something happens in one of them before it is spent, or other processes share it.
    """

    watches_loops: bool = False
    holds: bool = False
    projects: bool = False
    reserves: bool = False
    is_looked_at: bool = False

    def also(self, others: Wants) -> Wants:
        """What these budgets want, and others."""
        return others if self is NOTHING_WANTED else Wants(*map(or_, self, others))


NOTHING_WANTED: Final = Wants()


@dataclass(frozen=True, slots=True)
class Budget:
    """What a step may spend. Reaching a limit exactly is fine, crossing it is a breach.

    Args:
        max_tokens: input and output tokens together: a number above 0, truncated to an integer.
        max_usd: US dollars, 0 or more. 0 is a limit: nothing may be spent.
        max_input_tokens: input tokens, cached ones included.
        max_output_tokens: output tokens, reasoning included.
        max_calls: calls to models. One more is refused before it is sent.
        max_seconds: from the step's start. Later calls are refused, and streams are stopped.
        max_cost_per_call: US dollars that one call may cost.
        loop: as many times the same request with the same answer, or the same sequence of up to four such, is a loop
            (2 or more).
        preflight: what is asked before a call is sent. "exhausted": whether a limit has been crossed. "reserve": also
            whether there is room for what the call may spend, with what the calls in flight may spend.
        on_contention: what happens to a call for which there is no room only as long as others are in flight: "refuse",
            or "wait" for them.
        wait_seconds: how long a call waits at most.
        cap_output: whether the call's own maximum of output tokens is lowered to what there is room for.
        stop_streams: whether a stream is stopped when its budget cannot be met any more. None: where `preflight` is
            "reserve".
        hard_stop_after: after as many refused calls in one run of a step, the next refusal travels as
            `StepBudgetStop`, which `except Exception` does not catch.
        mode: "shadow" stops nothing and changes nothing, and records what would have been done.
        at: what happens when a share of a limit is spent: `{0.5: "notify", 0.8: "downgrade:gpt-5-nano", 0.9: "tell"}`.
            "notify" calls `on_budget_threshold`; "downgrade:MODEL" is for calls that name no model; "tell" tells
            the model of a framework what is left, in a line of its system prompt; elsewhere it marks that the model is
            to be told (`active.is_told`, `active.remaining()`).

    Attributes:
        is_limited: whether there is a limit at all.
        thresholds: what `at` says, the lowest share first.
        wants: what it wants of the calls that it covers.
        max_picousd, max_call_picousd: `max_usd` and `max_cost_per_call` in the integers that they are counted in.

    Raises:
        TypeError: a value is of the wrong type.
        ValueError: a value is out of range.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    max_tokens: int | None = None
    max_usd: float | Decimal | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_per_call: float | Decimal | None = None
    loop: int | None = None
    preflight: Preflight = "exhausted"
    on_contention: OnContention = "refuse"
    wait_seconds: float = WAIT_SECONDS
    cap_output: bool = False
    stop_streams: bool | None = None
    hard_stop_after: int = HARD_STOP_AFTER
    mode: Mode = "enforce"
    at: Mapping[Any, str] | None = None
    is_limited: bool = field(init=False, repr=False, compare=False)
    thresholds: tuple[Threshold, ...] = field(init=False, repr=False, compare=False)
    wants: Wants = field(init=False, repr=False, compare=False)
    max_picousd: int | None = field(init=False, repr=False, compare=False)
    max_call_picousd: int | None = field(init=False, repr=False, compare=False)

    def given(self) -> dict[str, Any]:
        """What differs from a budget that says nothing, by its keys."""
        return {
            each.name: value
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default and each.init
        }

    def __post_init__(self) -> None:
        """Check every value, which happens once: a budget is never made of another one's numbers."""
        for name in ("max_tokens", "max_input_tokens", "max_output_tokens", "max_calls"):
            _set(self, name, _count_of(name, getattr(self, name)))
        for name in ("max_usd", "max_cost_per_call"):
            _set(self, name, _usd_of(name, getattr(self, name)))
        _set(self, "max_picousd", to_picousd(self.max_usd))
        _set(self, "max_call_picousd", to_picousd(self.max_cost_per_call))
        _set(self, "max_seconds", None if self.max_seconds is None else _seconds_of("max_seconds", self.max_seconds))
        _set(self, "wait_seconds", _seconds_of("wait_seconds", self.wait_seconds))
        for name, allowed in _CHOICES.items():
            _check_choice(name, getattr(self, name), allowed)
        if self.loop is not None:
            _check_integer("loop", self.loop, least=2)
        _check_integer("hard_stop_after", self.hard_stop_after, least=0)
        _check_truth("cap_output", self.cap_output)
        if self.stop_streams is None:
            _set(self, "stop_streams", self.preflight == "reserve")
        _check_truth("stop_streams", self.stop_streams)
        _set(self, "thresholds", () if self.at is None else thresholds_of(self.at))
        _set(self, "is_limited", any(getattr(self, name) is not None for name in LIMITS))
        reserves = self.preflight == "reserve"
        projects = reserves or bool(self.stop_streams)
        holds = projects or self.max_calls is not None
        _set(self, "wants", Wants(self.loop is not None, holds, projects, reserves, bool(self.thresholds)))


def budget_of(budget: object, limits: Mapping[str, object]) -> Budget:
    """The budget that a declaration gives, whole or as its limits.

    Raises:
        TypeError, ValueError: both are given, a value is wrong, or a key is unknown.
    """
    given = {key: value for key, value in limits.items() if value is not None}
    if budget is None:
        return _checked(given) if given else NO_BUDGET
    if given:
        raise TypeError(f"a step takes a budget or its limits ({', '.join(given)}), not both")
    if isinstance(budget, Budget):
        return budget
    if not isinstance(budget, Mapping):
        raise TypeError(f"budget must be a Budget or a mapping, not {budget!r}")
    return _checked(budget)


def _checked(given: Mapping[str, Any]) -> Budget:
    for key in given:
        if key not in KEYS:
            raise ValueError(f"budget has {', '.join(KEYS)}, not {key!r}{did_you_mean(key, KEYS)}")
    try:
        return _made(tuple([(key, type(value), value) for key, value in given.items()]))
    except TypeError:  # what cannot be a key of a cache: of the wrong type, or a mapping
        return Budget(**given)


@lru_cache(maxsize=256)
def _made(given: tuple[tuple[str, type, Any], ...]) -> Budget:
    return Budget(**{key: value for key, _, value in given})


def checked_value(name: str, value: object) -> Any:
    """`value`, if a budget may have it by that name.

    Raises:
        TypeError, ValueError: it may not.
    """
    Budget(**{name: value})  # type: ignore[arg-type]  # it checks them
    return value


def _set(budget: Budget, name: str, value: object) -> None:
    object.__setattr__(budget, name, value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _count_of(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not _is_number(value) or isinstance(value, Decimal):
        raise TypeError(f"{name} must be a number above 0, not {value!r}")
    if not (isinstance(value, int) or math.isfinite(value)) or value <= 0:
        raise ValueError(f"{name} must be a finite number above 0, not {value!r}")
    return int(value)


def _usd_of(name: str, value: Any) -> float | Decimal | None:
    if value is None:
        return None
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, 0 or more, not {value!r}")
    if not math.isfinite(_as_float(value)) or value < 0:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
    return value  # type: ignore[no-any-return]  # one of the three kinds of number


def _seconds_of(name: str, value: Any) -> float:
    if not _is_number(value):
        raise TypeError(f"{name} must be a number of seconds above 0, not {value!r}")
    seconds = _as_float(value)
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{name} must be a finite number of seconds above 0, not {value!r}")
    return seconds


def _as_float(value: float | Decimal) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):  # an int beyond all floats, a signalling NaN
        return math.inf


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")


def _check_integer(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, {least} or more, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be an integer, {least} or more, not {value!r}")


def _check_truth(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {value!r}")


NO_BUDGET: Final = Budget()
