"""What of ours runs when an object is freed.

Objects are freed at any moment. Two things follow. The context may be in the middle of a change, so nothing here
changes it. And where the garbage collector frees them, it interrupts whatever code happens to run, which may hold a
lock that we are about to ask for: an exporter's, a handler's. What is to be done then is done at the next step or call.
"""

from __future__ import annotations

import atexit
import gc
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from sys import is_finalizing
from typing import Any, Final

from otel_harn_steps._guard import guard
from otel_harn_steps._process import in_forked_child

_FINISHING = guard("ending what the garbage collector has freed")
_phases: Final[dict[str, Any]] = {}
"""The phases of collections ("start", "stop"), the latest last."""
# Functions in C: one in Python would look for signals, and Python drops what is raised in it.
gc.callbacks += (_phases.pop, _phases.__setitem__)

freed: Final[deque[tuple[Callable[..., object], tuple[object, ...]]]] = deque()
"""What is still to be done for what was freed. Looked at at each call and step, so that costs next to nothing."""


def is_collecting() -> bool:
    """Whether the garbage collector is at work: this code may then run in the middle of any other.

    At the end of the program it interrupts nobody, and there is no later.
    """
    return next(reversed(_phases), None) == "start" and not is_finalizing()


def from_a_finaliser(function: Callable[..., object], *args: object) -> None:
    """Call `function` in a context of its own; at the next step or call, where the garbage collector is at work.

    Objects are freed in the middle of `ContextVar.set` and `reset` too. Where the context is changed meanwhile, Python
    reads memory that it has freed.

    Args:
        function: may be called twice, and does nothing then.
        args: what it gets.
    """
    if is_collecting():
        freed.append((function, args))
    else:
        copy_context().run(function, *args)


def finish_freed() -> None:
    """Do what is still to be done. An interrupt leaves it for the next time."""
    while freed and not is_collecting():
        try:
            function, args = freed.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            with _FINISHING:
                copy_context().run(function, *args)
        except BaseException:
            freed.appendleft((function, args))
            raise


atexit.register(finish_freed)


@in_forked_child
def _forked() -> None:
    freed.clear()  # the parent does it
