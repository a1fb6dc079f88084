"""A test that is held to a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from otel_harn_steps._steps.budget import KEYS, Budget, budget_of
from otel_harn_steps._steps.capturing import Capture
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.totals import Tally
from otel_harn_steps._telemetry.call_row import BILLED, NO_STEP, CallRow
from otel_harn_steps.store import Spend
from otel_harn_steps.store._numbers import cost, counted, shown
from otel_harn_steps.testing._capture import CapturedSteps, capturing, spend_of

_MOST_SHOWN: Final = 20


class StepBudgetMarkError(ValueError):
    """A `step_budget` mark has arguments that a budget cannot have."""


def budget_of_mark(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Budget:
    """The budget that a mark gives.

    Raises:
        StepBudgetMarkError: it gives none, or a wrong one; the message says what is allowed.
    """
    if args:
        raise StepBudgetMarkError(f"step_budget takes limits by their names, as in max_usd=0.01, not {args[0]!r} alone")
    try:
        budget = budget_of(None, kwargs)
    except (TypeError, ValueError) as error:
        raise StepBudgetMarkError(f"step_budget: {error}") from None
    if not budget.is_limited:
        raise StepBudgetMarkError(f"step_budget needs a limit: {', '.join(KEYS[: KEYS.index('preflight')])}")
    return budget


class HeldTest:
    """A test that is held to a budget, and what it has spent."""

    def __init__(self, budget: Budget, account: Capture, captured: CapturedSteps) -> None:
        self._budget = budget
        self._account = account
        self._captured = captured

    def failure(self) -> str | None:
        """What is wrong, and which steps and calls have spent it. None: the test has stayed within its budget."""
        calls = self._captured.calls
        breach = self._account.breach or self._account.refusal or self._crossed_elsewhere(spend_of(calls))
        if breach is None:
            return None
        return "\n".join([str(breach), *_spending(calls), *_open(self._captured.open_calls)])

    def _crossed_elsewhere(self, spend: Spend) -> StepBudgetExceeded | None:
        """The breach by calls of a step that was entered before the test began, whose account is not below the test."""
        account, budget = self._account, self._budget
        account.subtree = Tally(
            spend.input_tokens,
            spend.output_tokens,
            spend.calls,
            estimated_tokens=spend.estimated_tokens,
            cost_picousd=spend.cost_picousd,
            estimated_picousd=spend.estimated_cost_picousd,
        )
        limit = account._full(account.subtree)
        if limit is None and budget.max_calls is not None and spend.calls > budget.max_calls:
            limit = "max_calls"
        return None if limit is None or budget.mode == "shadow" else account._exceeded(limit)


@contextmanager
def held_to(test: str, budget: Budget) -> Iterator[HeldTest]:
    """Hold what is spent in the block to a budget. A call that it has no room for raises, as in a step."""
    with capturing(test, budget) as (captured, account):
        yield HeldTest(budget, account, captured)


def _spending(calls: tuple[CallRow, ...]) -> Iterator[str]:
    billed = [row for row in calls if row.outcome in BILLED]
    steps: dict[str, list[CallRow]] = {}
    for row in billed:
        steps.setdefault(row.path or NO_STEP, []).append(row)
    by_cost = sorted(steps.items(), key=lambda each: -_cost(spend_of(each[1])))
    yield "by step:"
    yield from _columns([(shown(path), *_facts(spend_of(rows))) for path, rows in by_cost], words=1)
    refused = sum(row.outcome == "refused" for row in calls)
    yield f"calls, as they were sent{f' ({refused:,} more refused)' if refused else ''}:"
    yield from _columns([_call(row) for row in billed[:_MOST_SHOWN]], words=2)
    if len(billed) > _MOST_SHOWN:
        yield f"  and {len(billed) - _MOST_SHOWN:,} more"


def _open(calls: tuple[CallRow, ...]) -> Iterator[str]:
    if calls:
        yield f"in flight at the end: {counted(len(calls), 'call')} of {', '.join(sorted({row.step for row in calls}))}"


def _cost(spend: Spend) -> int:
    return spend.cost_picousd + spend.estimated_cost_picousd


def _facts(spend: Spend) -> tuple[str, ...]:
    tokens = f"{spend.input_tokens:,} in", f"{spend.output_tokens:,} out"
    return counted(spend.calls, "call"), *tokens, cost(spend)


def _call(row: CallRow) -> tuple[str, ...]:
    model = shown(row.model or row.requested_model or "no model")
    return shown(row.path or NO_STEP), f"{row.provider} {model}", *_facts(spend_of((row,)))[1:]


def _columns(rows: list[tuple[str, ...]], *, words: int) -> Iterator[str]:
    """The rows as lines, in columns: as many of words, to the left, and then numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if at < words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()
