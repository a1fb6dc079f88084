"""The edge between our faults and the app: what goes wrong inside is logged once and dropped."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

RAISE_FAULTS: Final = "OTEL_HARN_STEPS_RAISE_FAULTS"
"""Set in the environment of the processes that our own tests start."""

_logger = logging.getLogger("otel_harn_steps")
_logged: set[tuple[str, type[BaseException]]] = set()
_raises_faults = RAISE_FAULTS in os.environ


class _Guard:
    __slots__ = ("_doing", "_ours")

    def __init__(self, doing: str, *, ours: bool = True) -> None:
        self._doing = doing
        self._ours = ours

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Swallow an `Exception`; let what interrupts the program pass."""
        if kind is None or not issubclass(kind, Exception):
            return False
        if self._ours and _raises_faults:
            return False
        if (self._doing, kind) not in _logged:
            _logged.add((self._doing, kind))
            # Without the traceback's locals and without the message: both may hold a prompt.
            _logger.warning(
                "otel_harn_steps failed while %s (%s at %s); the app goes on, further such faults are not logged",
                self._doing,
                kind.__name__,
                _place(traceback),
            )
        return True


@lru_cache(maxsize=256)
def guard(doing: str, *, ours: bool = True) -> _Guard:
    """Stop our own faults: logged once per place and type, then dropped.

    Only code whose errors are never meant for the user belongs inside. A budget error does not.

    Args:
        doing: what the code does, for the log: "reading usage".
        ours: whether the code is ours. A fault of a user's sink or of another span processor is not ours, and is
            dropped even where `raise_own_faults` is on.
    """
    return _Guard(doing, ours=ours)


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
