"""What this process is: how many forks lie behind it, which run it is part of, and new ids."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

_Hook = TypeVar("_Hook", bound=Callable[[], Any])

RUN_ID: Final = "OTEL_HARN_STEPS_RUN_ID"
RUN_NAME: Final = "OTEL_HARN_STEPS_RUN_NAME"
RUN_BUDGET: Final = "OTEL_HARN_STEPS_RUN_BUDGET"
"""What child processes join a run by, and its budget: in their environment."""
PAUSE: Final = "OTEL_HARN_STEPS_PAUSE"
TERMINAL: Final = "terminal"
"""Where `PAUSE` says so, whoever sits at the terminal decides about steps that pause."""

forks = 0
"""Counts the forks up to this process: what was begun before a fork is of the process above. Read, never set."""


def in_forked_child(hook: _Hook) -> _Hook:
    """Call `hook` in each child that is forked from now on, after those that were given before."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=hook)
    return hook


_unused: list[str] = []
_AT_ONCE: Final = 64


def new_id() -> str:
    """16 lowercase hex digits that no other id has, in this process and in those that are forked from it."""
    while True:
        try:
            return _unused.pop()
        except IndexError:
            # Not of `random`: an app that seeds it would get the same ids twice, and other numbers than without us.
            digits = os.urandom(8 * _AT_ONCE).hex()
            _unused.extend(digits[at : at + 16] for at in range(0, len(digits), 16))


_OWN_RUN = new_id()
"""The run of a process in which none was opened. What is forked from it is part of it."""
run_id = _OWN_RUN
"""The id of the run that this process is part of: the one that is open, else one of its own. Set by `use_run` alone."""


def use_run(opened: str) -> None:
    """A run has been opened."""
    global run_id  # noqa: PLW0603 -- read for every call, so as cheap as can be
    run_id = opened


def leave_run() -> None:
    """The run has been closed."""
    use_run(_OWN_RUN)


@in_forked_child
def _forked() -> None:
    global forks  # noqa: PLW0603 -- the one place that counts
    forks += 1
    _unused.clear()  # the parent gives them out
