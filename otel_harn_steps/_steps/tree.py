"""What the accounts of a tree of steps share: one lock, and the streams that a budget looks at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Final
from weakref import ref

from otel_harn_steps._process import in_forked_child


class Tree:
    """What an account and all that is nested in it have in common.

    Attributes:
        lock: a call changes every total above it at once.
        unread: streams under a budget that have not ended. Each is called to bill what is known of it so far.
        waiting: what is called when a call has ended.
    """

    __slots__ = ("__weakref__", "lock", "unread", "waiting")

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may settle an abandoned stream in the middle of anything.
        self.lock = RLock()
        self.unread: set[Callable[[], None]] = set()
        self.waiting: list[Callable[[], None]] = []
        _trees.add(ref(self, _trees.discard))

    def when_changed(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` whenever a call has ended. Returns what takes that back."""
        self.waiting.append(call)
        return partial(self.waiting.remove, call)

    def changed(self) -> None:
        """A call has ended: there may be room for those that wait."""
        for call in list(self.waiting):
            call()


_trees: Final[set[ref[Tree]]] = set()
"""All there are. Not a `WeakSet`, whose functions are in Python: an outermost step has a tree of its own."""


@in_forked_child
def _forked() -> None:
    """Whoever held a lock at the fork is not in the child, and would never let it go."""
    for each in _trees.copy():
        tree = each()
        if tree is not None:
            tree.lock = RLock()


COMMON: Final = Tree()
"""The tree of all accounts, where a budget counts what steps spend that are nowhere above each other."""
_common: Tree | None = None


def tree_of_root() -> Tree:
    """The tree of an account that nothing is above."""
    return Tree() if _common is None else _common


def use_tree(common: Tree | None) -> None:
    """Let all accounts that are opened from now on be in this tree. None: each has its own, with what is nested."""
    global _common  # noqa: PLW0603 -- the one place that holds it
    _common = common
