"""Checks of what users give: each raises before anything is changed, and names argument, value and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


def text(key: str, value: object) -> str:
    """A string, which may be empty.

    Raises:
        TypeError: `value` is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string, not {value!r}")
    return str(value)


def text_or_none(key: str, value: object) -> str | None:
    """A string, or None.

    Raises:
        TypeError: `value` is neither.
    """
    return None if value is None else text(key, value)


def flag(key: str, value: object) -> bool:
    """True or False.

    Raises:
        TypeError: `value` is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be True or False, not {value!r}")
    return value


def above_zero(key: str, value: object, *, or_none: str = "") -> int:
    """A whole number above 0. `or_none`: for the message, what else may be given.

    Raises:
        TypeError: `value` is no whole number.
        ValueError: it is below 1.
    """
    mistake = f"{key} must be a whole number above 0{or_none}, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(mistake)
    if value < 1:
        raise ValueError(mistake)
    return value


def number_or_none(key: str, value: object, what: str) -> int | float | Decimal | None:
    """A number of any kind, also NumPy's, or None. What is out of range, infinite or NaN is a number.

    Args:
        key: the argument.
        value: what was given.
        what: what is counted, for the message: "tokens".

    Raises:
        TypeError: `value` is no number.
    """
    if value is None or type(value) is int or type(value) is float:
        return value
    from decimal import Decimal  # noqa: PLC0415 -- for numbers of other kinds

    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{key} must be a number of {what}, or None for unknown, not {value!r}")
    return int(value) if isinstance(value, Integral) else float(value)


def path(key: str, value: object) -> str | bytes:
    """A path, as a string.

    Raises:
        TypeError: `value` is no path.
        ValueError: it is empty.
    """
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{key} must be a path, not {value!r}")
    found: str | bytes = os.fspath(value)
    if not found:
        raise ValueError(f"{key} must be a path, not {value!r}")
    return found


def provider_or_none(key: str, value: object, method: str) -> None:
    """A provider of OpenTelemetry, known by its method, or None for the global one.

    Raises:
        TypeError: `value` is neither.
    """
    if value is not None and (isinstance(value, type) or not callable(getattr(value, method, None))):
        kind = key.title().replace("_", "")
        raise TypeError(f"{key} must be a {kind}, or None for the global one, not {value!r}")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'max_usd'?`, where one of the known names is near; else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a mistake

    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
