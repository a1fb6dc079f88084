"""Which budgets cover a call because of its labels, besides those of the step that it is made in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_harn_steps._steps.budget import NOTHING_WANTED, Wants

if TYPE_CHECKING:
    from otel_harn_steps._steps.account import Account


class ByLabel(NamedTuple):
    """The accounts of a call's labels, and what their budgets want of it."""

    accounts: tuple[Account, ...] = ()
    wants: Wants = NOTHING_WANTED


UNLABELLED: Final = ByLabel()
"""No budget of a label covers the call."""
_find: Callable[[Any], ByLabel] | None = None


def by_label(account: Any) -> ByLabel:
    """The budgets of the labels of a call that is made here, and billed to `account`."""
    return UNLABELLED if _find is None else _find(account)


def find_by_label(find: Callable[[Any], ByLabel] | None) -> None:
    """Ask `find` for them. None: there are no such budgets."""
    global _find  # noqa: PLW0603 -- the one place that holds it
    _find = find
