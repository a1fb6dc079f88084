"""What is spent in a block of a test: its steps, and its calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from time import time_ns

from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._instrument.instrument import instrument, uninstrument
from otel_harn_steps._instrument.instrumentation import Instrumentation, current_instrumentation
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._steps.budget import NO_BUDGET, Budget
from otel_harn_steps._steps.capturing import Capture, capture_in, current_capture
from otel_harn_steps._steps.program_run import account_in
from otel_harn_steps._telemetry.call_row import BILLED, CallRow, StartedStep
from otel_harn_steps._telemetry.delivery import add_receiver, remove_receiver
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.store import Spend


@dataclass(frozen=True, slots=True)
class CapturedStep:
    """The runs of one step, or of several that have the same name.

    Attributes:
        name: what was asked for.
        records: those of its runs, and what amends them.
        calls: its own calls, in the order in which they were sent.
        own: what those have spent.
        total: the same with the steps below it.
    """

    name: str
    records: tuple[CompletedStep, ...]
    calls: tuple[CallRow, ...]
    own: Spend
    total: Spend

    @property
    def cost_usd(self) -> float | None:
        """US dollars of its own calls, estimates left out. None: there are calls, and the price of none is known."""
        return self.own.cost_usd


class CapturedSteps:
    """The steps and calls of a block, also while it runs. What comes after the block is not in it."""

    def __init__(self, account: Capture) -> None:
        self._account = account
        self._since = time_ns()
        self._started: dict[str, StartedStep] = {}
        self._records: list[CompletedStep] = []
        self._open: dict[str, CallRow] = {}
        self._settled: list[CallRow] = []

    @property
    def records(self) -> tuple[CompletedStep, ...]:
        """The records of its steps, in the order in which these have ended, and what amends them."""
        finish_freed()
        return tuple(self._records)

    @property
    def calls(self) -> tuple[CallRow, ...]:
        """Its calls that have ended, in the order in which they were sent.

        Also those that the provider rejected or a budget refused, which are not billed: see `CallRow.outcome`.
        """
        finish_freed()
        return tuple(sorted(self._settled, key=lambda row: row.sent_at))

    @property
    def open_calls(self) -> tuple[CallRow, ...]:
        """Its calls that have been sent and have not ended, such as a stream that is not read to its end."""
        return tuple(self._open.values())

    @property
    def total(self) -> Spend:
        """What all of its calls have spent, also those of no step."""
        return spend_of(self.calls)

    @property
    def cost_usd(self) -> float | None:
        """US dollars of all calls, estimates left out. None: there are calls, and the price of none is known."""
        return self.total.cost_usd

    @property
    def started(self) -> tuple[StartedStep, ...]:
        """Its steps, in the order in which they were entered."""
        return tuple(self._started.values())

    def step(self, name: str) -> CapturedStep:
        """What the runs of a step have spent, by the step's name or its path.

        Raises:
            LookupError: there was no such step; the message names those that there were.
        """
        found = {each.step_id for each in self.started if name in (each.name, each.path)}
        if not found:
            paths = ", ".join(f"`{path}`" for path in dict.fromkeys(each.path for each in self.started))
            raise LookupError(f"no step `{name}` was entered; {f'there were {paths}' if paths else 'there was none'}")
        calls = self.calls
        own = tuple(row for row in calls if row.step_id in found)
        below = [row for row in calls if self._is_below(row.step_id, found)]
        records = tuple(each for each in self.records if (each.amends or each.step_id) in found)
        return CapturedStep(name, records, own, spend_of(own), spend_of(below))

    def _is_below(self, step_id: str | None, found: set[str]) -> bool:
        while step_id is not None and step_id not in found:
            started = self._started.get(step_id)
            step_id = None if started is None else started.parent_id
        return step_id is not None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._records)} records, {len(self._settled)} calls>"

    # -- as a receiver of the ledger -------------------------------------------------------------------------------

    takes_records = takes_calls = takes_starts = True

    def receive(self, record: CompletedStep) -> None:
        """Keep the record of a step of this block."""
        if (record.amends or record.step_id) in self._started:
            self._records.append(record)

    def call_sent(self, row: CallRow) -> None:
        """Keep the row of a call that is made in this block."""
        if row.step_id in self._started or self._is_here():
            self._open[row.call_id] = row

    def call_settled(self, row: CallRow) -> None:
        """Keep the row of a call that was made in this block."""
        was_sent = self._open.pop(row.call_id, None) is not None
        is_made_here = row.sent_at >= self._since and (row.step_id in self._started or self._is_here())
        if (was_sent or is_made_here) and row.outcome != "void":
            self._settled.append(row)

    def step_started(self, step: StartedStep) -> None:
        """Know a step of this block."""
        if step.parent_id in self._started or self._is_here():
            self._started[step.step_id] = step

    def _is_here(self) -> bool:
        innermost = current_capture()
        return innermost is not None and self._account in innermost.with_outer()


def spend_of(rows: Iterable[CallRow]) -> Spend:
    """What calls have spent together. Those that were not billed count nothing."""
    spend = Spend()
    for row in rows:
        if row.outcome in BILLED:
            spend.bill(row)
    return spend


@contextmanager
def capture_steps() -> Iterator[CapturedSteps]:
    """Capture the steps and calls of a `with` block.

    It calls `instrument()` where nobody has, and `uninstrument()` at its end; what somebody else has put in place stays
    as it is. Steps and calls are captured also where they run in other tasks, and in threads. Blocks may be nested, and
    may run at the same time in other tasks and threads: each has its own. Records stay in the log that
    `drain_completed_steps()` empties. Calls of no step are captured too.
    """
    with capturing("capture", NO_BUDGET) as (captured, _):
        yield captured


@contextmanager
def capturing(name: str, budget: Budget) -> Iterator[tuple[CapturedSteps, Capture]]:
    """The same, held to a budget; with the account that holds it."""
    with _instrumented():
        account = Capture(name, budget, account_in(capture_in()))
        captured = CapturedSteps(account)
        add_receiver(captured)
        account.open()
        try:
            yield captured, account
            finish_freed()  # what the block has dropped is billed to it
        finally:
            account.close()
            remove_receiver(captured)


class _Own:
    """The instrumentation that captures have put in place, and how many of them need it."""

    lock = RLock()
    users = 0
    instrumentation: Instrumentation | None = None


@contextmanager
def _instrumented() -> Iterator[None]:
    with _Own.lock:
        if current_instrumentation() is None:
            instrument()
            _Own.instrumentation = current_instrumentation()
        _Own.users += 1
    try:
        yield
    finally:
        with _Own.lock:
            _Own.users -= 1
            if _Own.users == 0:
                made, _Own.instrumentation = _Own.instrumentation, None
                if made is not None and made is current_instrumentation():
                    uninstrument()


@in_forked_child
def _forked() -> None:
    _Own.lock = RLock()  # another thread may have held it
