"""The one place that edits a closure of somebody else's: a plain function around a client's method.

Logfire's is one: `instrument_openai()` puts a plain function on the client's class, which holds the client's own method
in a variable. wrapt can put a wrapper below another wrapper of wrapt's, but not below such a function. Without this
file, where Logfire came first, our main seam would be passed by: the lower seams would bill the call, but a chat stream
that the app did not ask for its usage would stay unmetered.

Limits: the function says what it wraps (`__wrapped__`, by `functools.wraps`), it is not the client library's own, and
one of its variables holds exactly that. Other functions are left as they are; the lower seams bill what they call.
"""

from __future__ import annotations

from types import CellType, FunctionType
from typing import Any


def is_of_others(function: Any, package: str) -> bool:
    """Whether `function` is a plain function of another library around one of `package`, and can be edited.

    Decorators of the library itself are part of the method, and so is what makes a context manager of a generator.
    """
    if not isinstance(function, FunctionType) or not hasattr(function, "__wrapped__"):
        return False
    module = function.__globals__.get("__name__", "").partition(".")[0]
    return module not in (package, "contextlib") and _cell_of(function) is not None


def hold(function: Any, wrapped: Any) -> None:
    """Let `function` call `wrapped` instead of what it wraps now."""
    cell = _cell_of(function)
    if cell is not None:
        cell.cell_contents = function.__wrapped__ = wrapped


def _cell_of(function: Any) -> CellType | None:
    return next((cell for cell in function.__closure__ or () if _holds(cell, function.__wrapped__)), None)


def _holds(cell: CellType, wrapped: Any) -> bool:
    try:
        return cell.cell_contents is wrapped
    except ValueError:  # empty
        return False
