"""The edge between our faults and the app: what goes wrong inside is logged and dropped."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from itertools import count
from types import TracebackType
from typing import Final, Self

from otel_harn_steps._guard.interrupts import is_interrupt
from otel_harn_steps._guard.type_names import type_name

__all__ = ["RAISE_FAULTS", "forget_faults", "guard", "raise_own_faults", "type_name"]

RAISE_FAULTS: Final = "OTEL_HARN_STEPS_RAISE_FAULTS"
"""Set in the environment of the processes that our own tests start."""

_MOST_KINDS: Final = 1_000
_logger = logging.getLogger("otel_harn_steps")
# By what was done and what was raised. The counting itself is one step, in any thread, and needs no lock.
_faults: dict[tuple[str, str], count[int]] = {}
_raises_faults = RAISE_FAULTS in os.environ


class _Guard:
    __slots__ = ("_doing", "_ours", "_then")

    def __init__(self, doing: str, *, ours: bool, then: str) -> None:
        self._doing = doing
        self._ours = ours
        self._then = then

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Swallow an `Exception`. Let pass what interrupts the program, and what a signal's handler raised."""
        if error is None or not isinstance(error, Exception):
            return False
        if self._ours and _raises_faults:
            return False
        try:
            if is_interrupt(error, traceback):
                return False
            self._tell(error, traceback)
        except Exception as fault:
            # Near the end of the stack there may be no room to look, nor to log; and an app's log handler may raise.
            if not isinstance(fault, (RecursionError, MemoryError)) and is_interrupt(fault, fault.__traceback__):
                raise
        return True

    def drops(self, fault: Exception) -> bool:
        """Whether `fault`, which was just caught, is dropped. Where it is not, raise it again.

        For what runs at every call: `except Exception as fault: if not _READING.drops(fault): raise`. A `try` costs
        nothing until something is raised, `with` two calls.
        """
        return self.__exit__(type(fault), fault, fault.__traceback__)

    def _tell(self, error: Exception, traceback: TracebackType | None) -> None:
        kind = type_name(type(error))
        times = _times(self._doing, kind)
        if not _is_told(times):
            return
        # Without the traceback's locals and without the message: both may hold a prompt.
        _logger.warning(
            "otel_harn_steps failed while %s (%s at %s), %s; %s",
            self._doing,
            kind,
            _place(traceback),
            "for the first time" if times == 1 else f"{times:,} times so far",
            self._then,
        )


def _times(doing: str, kind: str) -> int:
    """How often this has happened, this time included."""
    key = doing, kind
    if key not in _faults and len(_faults) >= _MOST_KINDS:
        key = doing, "others"
    return next(_faults.setdefault(key, count(1)))


def _is_told(times: int) -> bool:
    """Whether there is a warning at this time: the 1st, the 10th, the 100th, and so on."""
    return str(times).rstrip("0") == "1"


@lru_cache(maxsize=256)
def guard(doing: str, *, ours: bool = True, then: str = "the app goes on") -> _Guard:
    """Stop our own faults: dropped, and logged at the 1st, the 10th, the 100th time of each type, and so on.

    Only code whose errors are never meant for the user belongs inside. A budget error does not. What interrupts this
    code from outside passes: `KeyboardInterrupt`, and whatever a signal's handler raises.

    Args:
        doing: what the code does, for the log: "reading usage".
        ours: whether the code is ours. A fault of a user's sink or of another span processor is not ours, and is
            dropped even where `raise_own_faults` is on.
        then: what comes of it, for the log.
    """
    return _Guard(doing, ours=ours, then=then)


def forget_faults() -> None:
    """Log every fault as if it were the first: for the tests of this package."""
    _faults.clear()


def raise_own_faults(is_on: bool) -> bool:
    """Raise our own faults instead of dropping them: for the tests of this package. Returns what was set before."""
    global _raises_faults
    before, _raises_faults = _raises_faults, is_on
    return before


def _place(traceback: TracebackType | None) -> str:
    if traceback is None:
        return "unknown"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}"  # noqa: PTH119 -- pathlib costs 3 ms to import
