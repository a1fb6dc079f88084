"""Budgets that count across steps, such as those of agents and labels: all accounts are under one lock then."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._steps.capturing import open_captures
from otel_harn_steps._steps.program_run import current_run
from otel_harn_steps._steps.tree import COMMON, use_tree

_needed_by: Final = set[str]()


def count_together(whose: str, *, is_needed: bool) -> None:
    """Let all accounts that are opened from now on be in one tree, for as long as somebody needs it.

    Args:
        whose: who needs it, or does not any more.
        is_needed: whether it is needed for them.
    """
    if not is_needed:
        _needed_by.discard(whose)
        use_tree(COMMON if _needed_by else None)
        return
    _needed_by.add(whose)
    use_tree(COMMON)
    for each in (current_run(), *open_captures()):
        if each is not None:
            each.tree = COMMON
