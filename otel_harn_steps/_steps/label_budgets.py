"""What calls with a label may spend, by the label's value: `[budgets.tenant] key = "tenant", max_usd = 5`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from time import gmtime, time
from typing import Any, Final, Literal, get_args
from weakref import WeakKeyDictionary

from otel_harn_steps import _process
from otel_harn_steps._arguments import did_you_mean
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.active import ActiveStep, current_step
from otel_harn_steps._steps.budget import LIMITS, Budget, Wants, budget_of
from otel_harn_steps._steps.by_label import UNLABELLED, ByLabel, find_by_label
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepBudgetStop, label_text
from otel_harn_steps._steps.labels import current_labels
from otel_harn_steps._steps.together import count_together
from otel_harn_steps._steps.tree import COMMON

Window = Literal["run", "hour", "day", "month"]
"""How long what is spent counts."""
WINDOWS: Final = get_args(Window)
NOT_OF_A_LABEL: Final = ("max_seconds", "loop")
"""The limits of a step that no label has: they are about one stretch of work."""
LABEL_LIMITS: Final = tuple(limit for limit in LIMITS if limit not in NOT_OF_A_LABEL)

_logger = logging.getLogger("otel_harn_steps")
_MOST_VALUES: Final = 10_000  # of one budget: values may be made up by whoever sends requests
_HOUR_S, _DAY_S = 3600, 86_400


@dataclass(frozen=True, slots=True)
class LabelBudget:
    """What each value of a label may spend.

    Attributes:
        key: the label.
        window: "hour", "day" and "month" begin and end with those of UTC, "run" with a run.
        budget: the limits of each value.
    """

    key: str
    window: Window
    budget: Budget


def label_budget_of(declared: object) -> LabelBudget:
    """The budget that a mapping declares: `key`, `window`, and the keys of a `Budget`.

    Raises:
        TypeError, ValueError: a value is wrong, or missing, or its key is unknown.
    """
    if isinstance(declared, LabelBudget):
        return declared
    if not isinstance(declared, Mapping):
        raise TypeError(f"must be a mapping such as {{'key': 'tenant', 'max_usd': 5}}, not {declared!r}")
    limits = dict(declared)
    key, window = limits.pop("key", None), limits.pop("window", "run")
    if not isinstance(key, str) or not key:
        raise TypeError(f"key must be the name of a label, such as 'tenant', not {key!r}")
    if window not in WINDOWS:
        hint = did_you_mean(window, WINDOWS)
        raise ValueError(f"window must be one of {', '.join(map(repr, WINDOWS))}, not {window!r}{hint}")
    for limit in NOT_OF_A_LABEL:
        if limits.get(limit) is not None:
            raise ValueError(f"the budget of a label has no {limit}: it is about one run of a step")
    budget = budget_of(limits, {})
    if not budget.is_limited:
        raise ValueError(f"must have at least one of {', '.join(LABEL_LIMITS)}, not {declared!r}")
    return LabelBudget(key, window, budget)


class Label(Account):
    """What the calls with one value of a label have spent in one window, next to the budgets of their steps."""

    kind = "label"

    __slots__ = ("_refused", "label")

    def __init__(self, name: str, declared: LabelBudget, value: str) -> None:
        super().__init__(StepDefinition(name, name, scope="tree", budget=declared.budget), None)
        self.label: tuple[str, str] = (declared.key, value)
        self._refused = WeakKeyDictionary[ActiveStep, int]()

    @property
    def whose(self) -> str:
        """Whose budget it is, for messages."""
        return label_text(*self.label)

    def _refusal(self, error: StepBudgetExceeded) -> StepBudgetExceeded | StepBudgetStop:
        # A window lasts, and many requests may be refused in it. What has to end is a loop in one run of a step, whose
        # edge turns a `StepBudgetStop` back. Where there is no step, nothing would.
        step = self._outermost_step()
        if step is None:
            return error
        refused = self._refused[step] = self._refused.get(step, 0) + 1
        return StepBudgetStop(error) if refused > self.definition.budget.hard_stop_after else error

    def _outermost_step(self) -> ActiveStep | None:
        """The step whose boundary decides: the outermost that was entered with the label, else the innermost."""
        innermost = step = current_step()
        found: ActiveStep | None = None
        while step is not None:
            if step.labels.get(self.label[0]) == self.label[1]:
                found = step
            step = step.parent
        return found or innermost


class _Values:
    """The values of one budget, and what each has spent in the window that is open. To be used under the lock."""

    def __init__(self, name: str, declared: LabelBudget) -> None:
        self.declared = declared
        self._name = name
        self._window: str | int | None = None
        self._accounts: dict[str, Label] = {}
        self._is_full = False

    def account(self, value: str, now_s: float) -> Label:
        """The account of a value in the window of that time, in seconds since the epoch."""
        window = window_at(self.declared.window, now_s)
        if window != self._window and not _is_before(window, self._window):
            self._window, self._accounts = window, {}  # nothing has been spent in it
        account = self._accounts.pop(value, None)
        if account is None:
            account = Label(self._name, self.declared, value)
            if len(self._accounts) >= _MOST_VALUES:
                self._forget_one()
        self._accounts[value] = account  # the last: the one that was used longest ago comes first
        return account

    def _forget_one(self) -> None:
        del self._accounts[next(iter(self._accounts))]
        if not self._is_full:
            self._is_full = True
            _logger.warning(
                "budget %r has more than %d values of label %r in one window: the value that was used longest ago is "
                "forgotten for each further one, and begins at zero when it comes again",
                self._name,
                _MOST_VALUES,
                self.declared.key,
            )


def window_at(window: Window, now_s: float) -> str | int:
    """The window of that time: the run's id, or a number that grows."""
    if window == "run":
        return _process.run_id
    if window == "month":
        at = gmtime(now_s)
        return at.tm_year * 12 + at.tm_mon
    return int(now_s // (_HOUR_S if window == "hour" else _DAY_S))


def _is_before(window: str | int, other: str | int | None) -> bool:
    """Whether a clock that was set back says so: what was spent still counts then."""
    return isinstance(window, int) and isinstance(other, int) and window < other


class _LabelBudgets:
    """The budgets of labels, by name."""

    def __init__(self, declared: Mapping[str, LabelBudget]) -> None:
        self.declared = declared
        self._values = [_Values(name, each) for name, each in declared.items()]

    def of_call(self, account: Any) -> ByLabel:
        """The budgets of a call that is made here, and billed to `account`."""
        labels = current_labels() or account.labels
        # An account that was opened before there were such budgets is under another lock.
        if not labels or account.tree is not COMMON:
            return UNLABELLED
        now_s = time()
        with COMMON.lock:
            found = [
                each.account(value, now_s)
                for each in self._values
                if (value := labels.get(each.declared.key)) is not None
            ]
        if not found:
            return UNLABELLED
        return ByLabel(tuple(found), reduce(Wants.also, [each.wants for each in found]))


_declared: Final[dict[str, Mapping[str, LabelBudget]]] = {}
_last = _LabelBudgets({})


def use_label_budgets(source: str, budgets: Mapping[str, object] | None = None) -> None:
    """Hold the budgets of one source ("code" or "file") from now on, by their names. None: no more.

    What was spent under the same budgets before counts.
    """
    global _last  # noqa: PLW0603 -- the one place that holds it
    _declared[source] = {name: label_budget_of(each) for name, each in (budgets or {}).items()}
    declared = {**_declared.get("file", {}), **_declared.get("code", {})}
    if declared and declared != _last.declared:
        _last = _LabelBudgets(declared)
    count_together("labels", is_needed=bool(declared))
    find_by_label(_last.of_call if declared else None)


def forget_label_budgets() -> None:
    """Begin at zero (tests)."""
    global _last  # noqa: PLW0603 -- as above
    _last = _LabelBudgets({})
