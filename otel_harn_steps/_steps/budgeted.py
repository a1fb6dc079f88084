"""An account's budget: which budgets cover a call, whether there is room for it, and which limit it has crossed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

from otel_harn_steps import _settings
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._steps.budget import NOTHING_WANTED, Wants
from otel_harn_steps._steps.by_label import UNLABELLED, ByLabel
from otel_harn_steps._steps.errors import BudgetOf, StepBudgetExceeded, loop_detail, unmetered_detail, unpriced_detail
from otel_harn_steps._steps.spent import Spent
from otel_harn_steps._steps.totals import ModelCall, Tally
from otel_harn_steps._steps.tree import Tree, tree_of_root

if TYPE_CHECKING:
    from weakref import WeakSet

    from otel_harn_steps._steps.definition import StepDefinition
    from otel_harn_steps._steps.reservation import Reservation
    from otel_harn_steps._steps.shared_spending import SharedSpending
    from otel_harn_steps._telemetry.record import Status

KNOWN: Final = frozenset({"measured", "reported"})
OF_OUTPUT: Final = frozenset({"max_tokens", "max_usd", "max_output_tokens", "max_cost_per_call"})
"""The limits that a call with less output may stay within."""


class Budgeted(Spent):
    """What has a budget, and lies below others that have.

    Attributes:
        definition: what was declared.
        above: the account around this one, which counts what this one spends as well.
        status: how it ended. None while it lives: an account that has ended still counts, and refuses nothing.
        breach: the limit that was crossed first.
        would_have_stopped: the limit that was crossed first, where the budget only looks on.
        refused: how many calls its budget has refused for good.
        is_covered: whether a budget counts what this account's own calls spend.
        wants: what those budgets want of its calls.
        kind: whose budget it is.
        label: the label and the value whose budget it is. None: it is not that of a label.
        shared: what is counted together with other processes. None: nothing.
        loop_watch: what finds them, kept for `_calls.repeating` and read there alone.
    """

    kind: BudgetOf = "step"
    label: tuple[str, str] | None = None

    __slots__ = (
        "_began_s",
        "_coverers",
        "_covering_below",
        "_held",
        "_is_limited",
        "_last_input",
        "_max_call_picousd",
        "_max_picousd",
        "_wants_below",
        "above",
        "breach",
        "definition",
        "is_covered",
        "loop_watch",
        "refused",
        "shared",
        "status",
        "tree",
        "wants",
        "would_have_stopped",
    )

    above: Self | None
    definition: StepDefinition
    status: Status | None
    breach: StepBudgetExceeded | None
    would_have_stopped: str | None
    refused: int
    shared: SharedSpending | None
    tree: Tree
    _covering_below: tuple[Any, ...]
    _wants_below: Wants
    _held: WeakSet[Reservation] | None
    _last_input: tuple[int, int] | None
    """What the input of its last call was estimated and measured at."""

    def _take_budget(self, definition: StepDefinition, above: Self | None) -> None:
        """Be held to what a definition says, below another account."""
        budget = definition.budget
        self.definition = definition
        self.above = above
        self._max_picousd = budget.max_picousd
        self._max_call_picousd = budget.max_call_picousd
        self._began_s = 0.0 if budget.max_seconds is None else monotonic()
        coverers: tuple[Any, ...] = ()
        wants = NOTHING_WANTED
        if above is None:
            self.tree = tree_of_root()
        else:
            self.tree = above.tree
            coverers, wants = above._covering_below, above._wants_below
        # Of a budget of its own calls alone, those below know nothing.
        self._covering_below, self._wants_below = coverers, wants
        self._is_limited = is_limited = budget.is_limited
        if is_limited:
            coverers = (self, *coverers)
            wants = budget.wants if wants is NOTHING_WANTED else wants.also(budget.wants)
            if definition.scope == "tree":
                self._covering_below, self._wants_below = coverers, wants
        self._coverers = coverers
        self.wants = wants
        self.is_covered = bool(coverers)

    @property
    def whose(self) -> str:
        """Whose budget it is, for messages."""
        return f"{self.kind} `{self.definition.name}`"

    def lineage(self) -> Iterator[Self]:
        """This account and those above it."""
        account: Self | None = self
        while account is not None:
            yield account
            account = account.above

    def coverers(self, labelled: ByLabel = UNLABELLED) -> tuple[Any, ...]:
        """The accounts whose budget counts what this one's own calls spend, or a call of it with such labels."""
        return (*self._coverers, *labelled.accounts) if labelled.accounts else self._coverers

    def covering(self, labelled: ByLabel = UNLABELLED) -> Sequence[Self]:
        """Those of the `coverers` that live, this one first."""
        coverers = self.coverers(labelled) if labelled.accounts else self._coverers
        for each in coverers:
            if each.status is not None:
                return [each for each in coverers if each.status is None]
        return coverers  # the fast path: all of them

    def repeats(self, is_loop: Callable[[Self], bool], response: object) -> StepBudgetExceeded | None:
        """The breach of a budget for calls that repeat. To be asked about each call that was answered, once.

        Args:
            is_loop: whether the call ends a loop among those of an account.
            response: the provider's answer, kept on the error.
        """
        with self.tree.lock:
            for account in self.covering():
                times = account.definition.budget.loop
                if times is not None and is_loop(account) and account._stops("loop"):
                    detail = loop_detail(account.definition.name, times)
                    error = account._exceeded("loop", response, detail, consumed=times)
                    account.note_breach(error)
                    return error
        return None

    def note_breach(self, error: StepBudgetExceeded) -> None:
        """A budget has stopped something: its step is exhausted, whatever was billed."""
        owner = error.owner
        with self.tree.lock:
            if isinstance(owner, Budgeted) and owner.status is None:
                owner._note(error)

    def _note(self, error: StepBudgetExceeded) -> None:
        """Keep the first breach; one of a call that was not sent only until there is a real one."""
        if self.breach is None or (self.breach.projected and not error.projected):
            self.breach = error

    def _is_late(self) -> bool:
        seconds = self.definition.budget.max_seconds
        return seconds is not None and monotonic() - self._began_s > seconds

    def _stops(self, limit: str) -> bool:
        """Whether what crosses the limit is to be stopped. If not, that is noted."""
        if self.definition.budget.mode == "enforce":
            return True
        self.would_have_stopped = self.would_have_stopped or limit
        return False

    def _full(self, spent: Tally) -> str | None:
        """The limit that such totals cross. `>` and not `>=`: a step may spend its budget to the last token."""
        budget = self.definition.budget
        if budget.max_tokens is not None and spent.budget_tokens > budget.max_tokens:
            return "max_tokens"
        if self._max_picousd is not None and spent.budget_picousd > self._max_picousd:
            return "max_usd"
        if budget.max_input_tokens is not None and spent.budget_input_tokens > budget.max_input_tokens:
            return "max_input_tokens"
        if budget.max_output_tokens is not None and spent.budget_output_tokens > budget.max_output_tokens:
            return "max_output_tokens"
        return None

    # -- after a call ----------------------------------------------------------------------------------------------

    def _covers(self, spender: Budgeted) -> bool:
        """Whether this account's budget counts what `spender` spends, which is this account or one nested in it."""
        return spender is self or self.definition.scope == "tree"

    def _covered(self) -> Tally:
        return self.subtree if self.definition.scope == "tree" else self.own

    def _crossed(self, call: ModelCall, response: object, *, spender: Budgeted) -> StepBudgetExceeded | None:
        if spender is not self and not self._covers(spender):
            return None
        spent, budget = self._covered(), self.definition.budget
        limit = self._full(spent)
        if limit is None and budget.max_calls is not None and spent.llm_calls > budget.max_calls:
            limit = "max_calls"
        if limit is None and self._max_call_picousd is not None and call.budget_picousd > self._max_call_picousd:
            return self._exceeded("max_cost_per_call", response, consumed=to_usd(call.budget_picousd))
        if limit is None and budget.max_seconds is not None and self._is_late():
            limit = "max_seconds"
        if limit is not None:
            return self._exceeded(limit, response)
        is_known = call.cost_picousd is not None and call.certainty in KNOWN
        return None if is_known else self._unknown(call, response)

    def _unknown(self, call: ModelCall, response: object) -> StepBudgetExceeded | None:
        """The breach that a call of unknown usage or price is where the settings refuse it."""
        usage = call.usage
        if (usage is None or not usage.is_complete) and _settings.in_force.unmetered == "refuse":
            limit = "max_tokens" if self.definition.budget.max_tokens is not None else "max_usd"
            return self._exceeded(limit, response, unmetered_detail(self.whose, call.model, limit))
        if self._max_picousd is None or usage is None or call.cost_picousd is not None:
            return None
        if _settings.in_force.unpriced == "refuse":
            return self._exceeded("max_usd", response, self._unpriced_detail(call.model))
        return None

    def _unpriced_detail(self, model: str | None) -> str:
        return unpriced_detail(self.whose, model, self._max_picousd or 0)

    def _exceeded(
        self,
        limit: str,
        response: object = None,
        detail: str | None = None,
        *,
        consumed: float | None = None,
        projected: tuple[int, float] | None = None,
    ) -> StepBudgetExceeded:
        definition, spent = self.definition, self._covered()
        return StepBudgetExceeded(
            step=definition.name,
            function=definition.function,
            limit=limit,
            limit_value=float(getattr(definition.budget, limit, None) or 0),
            consumed_tokens=spent.budget_tokens,
            consumed_cost_usd=to_usd(spent.budget_picousd),
            error_boundary=definition.error_boundary,
            consumed=self._consumed(limit, spent) if consumed is None else consumed,
            projected_tokens=None if projected is None else projected[0],
            projected_cost_usd=None if projected is None else projected[1],
            response=response,
            detail=detail,
            owner=self,
            budget_of=self.kind,
            label=self.label,
        )

    def _exceeded_again(self, breach: StepBudgetExceeded) -> StepBudgetExceeded:
        """The error for a call of an exhausted step."""
        consumed = breach.consumed if breach.limit in ("max_calls", "max_cost_per_call") else None
        return self._exceeded(breach.limit, detail=breach.detail, consumed=consumed)

    def _consumed(self, limit: str, spent: Tally) -> float | None:
        """What of `spent` a limit looks at, in its unit. None: a limit that looks at something else."""
        if limit == "max_seconds":
            return monotonic() - self._began_s
        return to_usd(spent.budget_picousd) if limit == "max_usd" else _COUNTED_BY.get(limit, _nothing)(spent)


def _nothing(_: Tally) -> None:
    """No count."""


_COUNTED_BY: Final[Mapping[str, Callable[[Tally], int | None]]] = {
    "max_tokens": attrgetter("budget_tokens"),
    "max_calls": attrgetter("llm_calls"),
    "max_input_tokens": attrgetter("budget_input_tokens"),
    "max_output_tokens": attrgetter("budget_output_tokens"),
}
