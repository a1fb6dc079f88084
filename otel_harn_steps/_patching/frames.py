"""Frames of ours that warnings and logging pass over.

A library that warns with `stacklevel=2` or logs with one means the code that has called it. A frame of ours in between
would take its place: the warning would name our file, and with it the default filters would drop it, which show a
DeprecationWarning only where `__main__` is to blame. Both modules count no frame whose file name has `importlib` and
`_bootstrap` in it: it belongs to the import system. (`_is_internal_frame` in either, from CPython 3.3 and 3.11 on.)

The name still leads to the file, and so tracebacks show our lines and coverage counts them.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_DETOUR: Final = "importlib._bootstrap"


def passed_over(function: _Function) -> _Function:
    """`function` itself, whose frames warnings and logging do not count from now on."""
    if isinstance(function, FunctionType):
        function.__code__ = passed_over_code(function.__code__)
    return function


def passed_over_code(code: CodeType) -> CodeType:
    """As `passed_over`."""
    folder, name = os.path.split(code.co_filename)
    if os.path.join(_DETOUR, "..") in folder:  # noqa: PTH118 -- pathlib costs 3 ms to import
        return code
    return code.replace(co_filename=os.path.join(folder, _DETOUR, "..", name))  # noqa: PTH118 -- as above
