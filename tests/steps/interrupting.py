"""Interrupting our code at any of its lines, as a signal's handler may."""

from __future__ import annotations

import asyncio
import dis
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import otel_harn_steps

_OURS = str(Path(otel_harn_steps.__file__).parent)
_NOT_AT_WORK = f"{_OURS}/testing/"


class TimeLimit(Exception):  # noqa: N818 -- named as those of Celery and RQ are
    """What a handler of SIGALRM raises, as Celery's `SoftTimeLimitExceeded` is: an `Exception`."""


KINDS: tuple[type[BaseException], ...] = (KeyboardInterrupt, asyncio.CancelledError, TimeLimit)


class Lines:
    """Runs work, and counts the lines of our code that it runs. At one of them, `error` is raised.

    That is more than a signal can do: Python looks for signals where a function begins, where a loop goes back, and
    after a call. Left out is the one place where a line begins and no signal can come: between the end of a `with`
    block and the call of its `__exit__`, where a lock would never be let go.
    """

    def __init__(self, at: int = -1, error: BaseException | None = None) -> None:
        self.seen: list[str] = []
        self.unraisable: list[BaseException | None] = []
        self._at = at
        self._error = error

    def run(self, work: Callable[[], object]) -> BaseException | None:
        """What the work raised."""
        before, hook = sys.gettrace(), sys.unraisablehook
        # What is raised while an object is freed, Python can give to nobody.
        sys.unraisablehook = lambda raised: self.unraisable.append(raised.exc_value)
        sys.settrace(self._on_call)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- that is what is asked
            return error.with_traceback(None)
        finally:
            sys.settrace(before)
            sys.unraisablehook = hook
        return None

    def _on_call(self, frame: Any, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        return self._on_line if file.startswith(_OURS) and not file.startswith(_NOT_AT_WORK) else None

    def _on_line(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "line" and frame.f_lasti not in _ends_of_blocks(frame.f_code):
            self.seen.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}:{frame.f_lineno}")
            if len(self.seen) - 1 == self._at and self._error is not None:
                raise self._error
        return self._on_line


@cache
def _ends_of_blocks(code: CodeType) -> frozenset[int]:
    """Where `with` blocks that raised nothing call their `__exit__(None, None, None)`."""
    found = set[int]()
    instructions = list(dis.get_instructions(code))
    starts = {each.offset for each in instructions if each.starts_line}
    for at in range(1, len(instructions) - 2):
        before, first, second, third = instructions[at - 1 : at + 3]
        if all(each.opname == "LOAD_CONST" and each.argval is None for each in (first, second, third)):
            found |= {first.offset} | ({before.offset} if before.opname == "SWAP" else set())
    return frozenset(found & starts)
