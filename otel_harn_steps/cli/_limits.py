"""The limits that `run` is given as options, checked."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Final

_S_PER_MINUTE: Final = 60

Limits = dict[str, float]
"""What a run may spend, by the names of a step's budget: `max_usd`, `max_tokens`, `max_calls`, `max_seconds`."""


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options. Their values are checked later, because argparse would not say what is allowed."""
    limits = parser.add_argument_group("limits of the program with all its processes")
    limits.add_argument("--max-usd", metavar="USD", help="end it before its calls cost more than so many US dollars")
    limits.add_argument("--max-tokens", metavar="N", help="as --max-usd, of input and output tokens together")
    limits.add_argument("--max-calls", metavar="N", help="as --max-usd, of calls to models")
    limits.add_argument("--max-minutes", metavar="MINUTES", help="end it after so many minutes")
    limits.add_argument(
        "--grace",
        metavar="SECONDS",
        default="10",
        help="how long a program that goes on has to end, after SIGINT and before SIGTERM; default: 10",
    )


def read_limits(arguments: argparse.Namespace) -> tuple[Limits, float]:
    """The limits that were given, and the grace in seconds.

    Raises:
        ValueError: a value is none. The message names option, value and what is allowed.
    """
    limits: Limits = {}
    for name, read in _READERS.items():
        given = getattr(arguments, name)
        if given is not None:
            limits[name] = read(f"--{name.replace('_', '-')}", given)
    if "max_minutes" in limits:
        limits["max_seconds"] = limits.pop("max_minutes") * _S_PER_MINUTE
    return limits, _number("--grace", arguments.grace, "a number of seconds, 0 or more", lambda grace: grace >= 0)


def _usd(option: str, given: str) -> float:
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415 -- only where it is given

    from otel_harn_steps._cost.money import to_picousd, to_usd  # noqa: PLC0415 -- as above

    try:
        picousd = to_picousd(Decimal(given))
    except InvalidOperation:
        picousd = None
    if picousd is None:
        raise ValueError(f"{option} must be a number of US dollars, 0 or more, such as 0.50, not {given!r}")
    return to_usd(picousd)


def _count(option: str, given: str) -> int:
    if not given.isdecimal() or not int(given):
        raise ValueError(f"{option} must be a whole number above 0, not {given!r}")
    return int(given)


def _minutes(option: str, given: str) -> float:
    return _number(option, given, "a number of minutes above 0, such as 10 or 0.5", lambda minutes: minutes > 0)


def _number(option: str, given: str, what: str, is_allowed: Callable[[float], bool]) -> float:
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not is_allowed(number):
        raise ValueError(f"{option} must be {what}, not {given!r}")
    return number


_READERS: Final[dict[str, Callable[[str, str], float]]] = {
    "max_usd": _usd,
    "max_tokens": _count,
    "max_calls": _count,
    "max_minutes": _minutes,
}
