"""A run: one start of a program, with all its processes. It is the account of every call that no step claims."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from threading import RLock
from time import time_ns
from types import TracebackType
from typing import Final, Unpack

from opentelemetry.context import Context

from otel_harn_steps import _process
from otel_harn_steps._process import RUN_BUDGET, RUN_ID, RUN_NAME, in_forked_child, leave_run, new_id, use_run
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.budget import NO_BUDGET, Budget, Limits, Wants, budget_of
from otel_harn_steps._steps.capturing import Capture, current_capture
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepBudgetStop, ended_detail
from otel_harn_steps._steps.reservation import Held, Projection
from otel_harn_steps._steps.run_budget import OF_A_RUN, RunBudget
from otel_harn_steps._steps.totals import NOTHING, Tally

_logger = logging.getLogger("otel_harn_steps")

_IS_SHARED: Final = Wants(is_looked_at=True)
_lock = RLock()
_open: Run | None = None


class Run(Account):
    """What a program spends while the run is open.

    `llm_calls`, `cost_usd` and the like are of the calls that no step claims, the `total_*` properties of all calls:
    those of this process. What the other processes of the run spent is in their own accounts, and in the journal. A
    budget of the run is held against what all of them spend.

    Attributes:
        run_id: 16 lowercase hex digits.
        name: the run's name.
        started_at: nanoseconds since the epoch.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    kind = "run"

    __slots__ = ("name", "run_id", "started_at")

    def __init__(self, name: str, run_id: str, budget: RunBudget | None = None) -> None:
        limits = NO_BUDGET if budget is None else budget.limits
        super().__init__(StepDefinition(name, name, scope="tree", budget=limits), current_capture())
        self.name = name
        self.run_id = run_id
        self.started_at = time_ns()
        if budget is not None:
            self._began_s = budget.started_s
            self.shared = budget.shared()
            if self.shared is not None:
                self.wants, self._wants_below = self.wants.also(_IS_SHARED), self._wants_below.also(_IS_SHARED)

    def begin_again(self) -> None:
        """Begin at zero, in a forked child: what was spent before the fork is the parent's."""
        self.own, self.subtree, self.by_model = NOTHING, NOTHING, {}
        self.open_calls, self.breach, self.last_model, self.price_book = 0, None, None, None
        self._forks = _process.forks
        if self.shared is not None:
            self.shared.begin_again()

    def _covered(self) -> Tally:
        here = super()._covered()
        if self.shared is None or not any(self.shared.elsewhere):
            return here
        there = self.shared.elsewhere
        return here.plus(Tally(there.input_tokens, there.output_tokens, there.calls, cost_picousd=there.picousd))

    def _no_room(self, limit: str, asked: Projection, held: Held) -> StepBudgetExceeded:
        error = super()._no_room(limit, asked, held)
        if error.projected and error.consumed <= error.limit_value:
            return self._exceeded(limit, detail=ended_detail(self.name, limit))
        return error

    def _note(self, error: StepBudgetExceeded) -> None:
        super()._note(error)
        if self.shared is not None:
            self.shared.end(error.limit)

    def _refusal(self, error: StepBudgetExceeded) -> StepBudgetExceeded | StepBudgetStop:
        refusal = super()._refusal(error)
        if self.shared is not None and isinstance(refusal, StepBudgetStop):
            self.shared.stopped()
        return refusal


class run:  # noqa: N801 -- it is used as a function, and is a context manager
    """Open a run for a block: `with run("nightly", max_usd=5) as nightly:`. Calls outside of steps are billed to it.

    There is one run in a process at a time. Opened while one is open, as by `otel-harn-steps run`, this joins that one,
    whose budget holds. Child processes that are started in the block, and call `instrument()`, join it too, and share
    its budget.
    """

    def __init__(
        self, name: str, *, budget: Budget | Mapping[str, object] | None = None, **limits: Unpack[Limits]
    ) -> None:
        """Name the run, and say what it may spend.

        Args:
            name: the run's name.
            budget: what all of its calls may spend, steps or not, in all of its processes.
            limits: the same by its keys: `max_usd`, `max_calls`, ... Room is reserved before a call is sent, unless
                `preflight` says otherwise.

        Raises:
            TypeError: `name` is not a string, or a limit of the wrong type.
            ValueError: `name` is empty, or a limit is out of range.
        """
        if not isinstance(name, str):
            raise TypeError(f"a run's name must be a string, not {name!r}")
        if not name:
            raise ValueError("a run's name must not be empty")
        self._name = name
        self._budget = budget_of(budget, {**OF_A_RUN, **limits} if limits else {})
        self._opened: Run | None = None
        self._budget_file: RunBudget | None = None
        self._environment: dict[str, str | None] = {}

    def __enter__(self) -> Run:
        """Open the run, or join the one that is open."""
        with _lock:
            if _open is not None:
                if self._budget.is_limited:
                    _logger.warning(
                        "run %r is part of run %r, whose budget holds: what it may spend itself is not held against it",
                        self._name,
                        _open.name,
                    )
                return _open
            if self._budget.is_limited:
                self._budget_file = RunBudget.create(self._budget)
            self._opened = _open_run(self._name, new_id(), self._budget_file)
        self._environment = {name: os.environ.get(name) for name in (RUN_ID, RUN_NAME, RUN_BUDGET)}
        os.environ[RUN_ID], os.environ[RUN_NAME] = self._opened.run_id, self._name
        if self._budget_file is not None:
            os.environ[RUN_BUDGET] = self._budget_file.to_text()
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the run, if it was opened here. A `StepBudgetStop` of its budget becomes its `StepBudgetExceeded`."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        for name, before in self._environment.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before
        with _lock:
            _close_run(opened)
        if self._budget_file is not None:
            self._budget_file.remove()
        if isinstance(error, StepBudgetStop) and error.error.owner is opened:
            raise error.error

    async def __aenter__(self) -> Run:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As `__exit__`."""
        self.__exit__(kind, error, traceback)


def current_run() -> Run | None:
    """The run that is open in this process."""
    return _open


def account_around(context: Context | None = None) -> Account | None:
    """What is above an outermost step that is entered here, or in `context`; calls of no step are billed to it."""
    capture = current_capture(context)
    return _open if capture is None else account_in(capture)


def account_in(capture: Capture | None) -> Account | None:
    """The innermost of a capture and the run that is open."""
    account: Account | None = _open
    while account is not None and account is not capture:
        account = account.above
    return _open if account is capture else capture


def join_run() -> Run | None:
    """Join the run that the environment names, if there is one, for as long as this process lives."""
    run_id = os.environ.get(RUN_ID)
    if not run_id:
        return _open
    with _lock:
        if _open is None:
            _open_run(os.environ.get(RUN_NAME) or run_id, run_id, RunBudget.of(os.environ.get(RUN_BUDGET)))
        return _open


def _open_run(name: str, run_id: str, budget: RunBudget | None = None) -> Run:
    global _open  # noqa: PLW0603 -- the one place that holds it
    _open = Run(name, run_id, budget)
    use_run(run_id)
    return _open


def _close_run(opened: Run) -> None:
    global _open  # noqa: PLW0603 -- as above
    if _open is opened:
        _open = None
        leave_run()


@in_forked_child
def _forked() -> None:
    global _lock  # noqa: PLW0603 -- another thread may have held it
    _lock = RLock()
    if _open is not None:
        _open.begin_again()
