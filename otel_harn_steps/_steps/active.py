"""The active step: what it has spent so far, and whether it may go on. These totals are the truth.

The active step lives in the OpenTelemetry Context, next to its span, so whatever carries the Context (asyncio, copied
contexts, the threading instrumentation) carries the step. Its span shows the same numbers and decides nothing.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, cast

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span

from otel_harn_steps._cost.money import to_picousd, to_usd
from otel_harn_steps._guard import guard
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded, unpriced_detail
from otel_harn_steps._steps.span import ShownTotals
from otel_harn_steps._steps.totals import ModelCall, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_logger = logging.getLogger("otel_harn_steps")
_ACTIVE_KEY = create_key("otel_harn_steps.active_step")
_limit_picousd = lru_cache(typed=True)(to_picousd)  # a step's limit is the same in all of its runs
_warned_uncovered: set[str] = set()


def current_step(context: Context | None = None) -> ActiveStep | None:
    """The innermost step that is active here: in this task, thread, and copy of the context; or in `context`."""
    return cast("ActiveStep | None", get_value(_ACTIVE_KEY, context))


def context_of(active: ActiveStep, parent: Context) -> Context:
    """`parent` with `active` as its innermost step."""
    return set_value(_ACTIVE_KEY, active, parent)


class ActiveStep:
    """A step while it runs.

    `input_tokens`, `output_tokens`, `cost_usd`, `llm_calls` are what its own calls spent; the `total_*` properties
    hold its nested steps too. US dollars; calls of unknown price are in `unpriced_calls` and not in the dollars.
    """

    __slots__ = (
        "_lock",
        "_max_picousd",
        "_on_leave",
        "breach",
        "by_model",
        "definition",
        "entered_by",
        "last_model",
        "own",
        "parent",
        "path",
        "shown",
        "span",
        "subtree",
        "watch",
    )

    def __init__(self, definition: StepDefinition, parent: ActiveStep | None = None) -> None:
        self.definition = definition
        self.parent = parent
        self.path: str = definition.name if parent is None else f"{parent.path}/{definition.name}"
        self.span: Span = INVALID_SPAN
        self.own = Tally()
        self.subtree = Tally()
        self.by_model: dict[tuple[str, str | None], Tally] = {}
        self.last_model: str | None = None
        self.breach: StepBudgetExceeded | None = None
        # The context manager that entered this step, which finds the run to leave by it.
        self.entered_by: object = None
        # Other instrumentations' spans in this step, kept for `_calls.foreign_spans` and read there alone.
        self.watch: object = None
        self._max_picousd = None if definition.budget.max_usd is None else _limit_picousd(definition.budget.max_usd)
        self._on_leave: list[Callable[[], None]] = []
        self.shown: ShownTotals | None = None
        # One lock for the whole tree: a call changes the totals of every step above it at once. Reentrant, because
        # the garbage collector may settle an abandoned stream in the middle of anything.
        self._lock: RLock = RLock() if parent is None else parent._lock

    # -- totals ------------------------------------------------------------------------------------------------

    @property
    def input_tokens(self) -> int:
        """Input tokens of the step's own calls, cached ones included."""
        return self.own.input_tokens

    @property
    def output_tokens(self) -> int:
        """Output tokens of the step's own calls, reasoning included."""
        return self.own.output_tokens

    @property
    def cost_usd(self) -> float:
        """US dollars of the step's own priced calls."""
        return to_usd(self.own.cost_picousd)

    @property
    def llm_calls(self) -> int:
        """Calls billed to the step itself."""
        return self.own.llm_calls

    @property
    def unpriced_calls(self) -> int:
        """Own calls whose price is unknown."""
        return self.own.unpriced_calls

    @property
    def unmetered_calls(self) -> int:
        """Own calls whose usage is unknown, or known in part."""
        return self.own.unmetered_calls

    @property
    def observed_calls(self) -> int:
        """Own calls that no patched client made: their usage is what another instrumentation's span reported."""
        return self.own.observed_calls

    @property
    def total_input_tokens(self) -> int:
        """Input tokens of this step and all nested ones."""
        return self.subtree.input_tokens

    @property
    def total_output_tokens(self) -> int:
        """Output tokens of this step and all nested ones."""
        return self.subtree.output_tokens

    @property
    def total_cost_usd(self) -> float:
        """US dollars of this step and all nested ones."""
        return to_usd(self.subtree.cost_picousd)

    @property
    def total_llm_calls(self) -> int:
        """Calls billed to this step and all nested ones."""
        return self.subtree.llm_calls

    # -- spending ----------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Let one more call begin.

        Raises:
            StepBudgetExceeded: the step is exhausted, or a step above whose budget covers it. Nothing was sent.
        """
        step: ActiveStep | None = self
        while step is not None:
            if step.breach is not None and step._covers(self):
                raise step._exceeded(step.breach.limit, detail=step.breach.detail)
            step = step.parent

    def bill(self, call: ModelCall, response: object = None) -> None:
        """Add a finished call to the totals, then hold them against every budget that covers the call.

        Args:
            call: what was spent.
            response: the provider's answer, kept on the error.

        Raises:
            StepBudgetExceeded: a limit is crossed. The totals keep the call: the money is spent.
        """
        crossed = self.add(call, response)
        if crossed is not None:
            raise crossed

    def add(self, call: ModelCall, response: object = None) -> StepBudgetExceeded | None:
        """Bill quietly: the breach is noted and returned, and raises at the next call or at the step's exit."""
        with self._lock:
            self.own.add(call)
            self._tally_of(call).add(call)
            if call.model:
                self.last_model = call.model
            first: StepBudgetExceeded | None = None
            step: ActiveStep | None = self
            while step is not None:
                step.subtree.add(call)
                crossed = step._crossed(call, response) if step._covers(self) else None
                if crossed is not None:
                    step.breach = step.breach or crossed
                    first = first or crossed
                step.show()
                step = step.parent
        if self.parent is not None:
            self._warn_of_uncovered_spend()
        return first

    def observe(self, call: ModelCall) -> None:
        """Bill a call that another instrumentation's span reported. Quiet, as `add` is."""
        with self._lock:
            for tally in (self.own, self._tally_of(call)):
                tally.observed_calls += 1
            for step in self._lineage():
                step.subtree.observed_calls += 1
            self.add(call)

    def _tally_of(self, call: ModelCall) -> Tally:
        key = call.provider, call.model
        tally = self.by_model.get(key)
        if tally is None:
            tally = self.by_model[key] = Tally()
        return tally

    def _lineage(self) -> Iterator[ActiveStep]:
        step: ActiveStep | None = self
        while step is not None:
            yield step
            step = step.parent

    def _covers(self, spender: ActiveStep) -> bool:
        """Whether this step's budget counts what `spender` spends, which is this step or one nested in it."""
        return spender is self or self.definition.scope == "tree"

    def _covered(self) -> Tally:
        return self.subtree if self.definition.scope == "tree" else self.own

    def _crossed(self, call: ModelCall, response: object) -> StepBudgetExceeded | None:
        spent = self._covered()
        max_tokens = self.definition.budget.max_tokens
        # `>` and not `>=`: a step may spend its budget to the last token.
        if max_tokens is not None and spent.input_tokens + spent.output_tokens > max_tokens:
            return self._exceeded("max_tokens", response)
        if self._max_picousd is None:
            return None
        if spent.cost_picousd > self._max_picousd:
            return self._exceeded("max_usd", response)
        if call.usage is not None and call.cost_picousd is None and settings().unpriced == "refuse":
            detail = unpriced_detail(self.definition.name, call.model, self._max_picousd)
            return self._exceeded("max_usd", response, detail)
        return None

    def _exceeded(self, limit: str, response: object = None, detail: str | None = None) -> StepBudgetExceeded:
        definition, spent = self.definition, self._covered()
        return StepBudgetExceeded(
            step=definition.name,
            function=definition.function,
            limit=limit,
            limit_value=float((definition.max_tokens if limit == "max_tokens" else definition.max_usd) or 0),
            consumed_tokens=spent.input_tokens + spent.output_tokens,
            consumed_cost_usd=to_usd(spent.cost_picousd),
            error_boundary=definition.error_boundary,
            response=response,
            detail=detail,
            owner=self,
        )

    def _warn_of_uncovered_spend(self) -> None:
        for step in self._lineage():
            definition = step.definition
            if step._covers(self) or not definition.budget.is_limited or definition.name in _warned_uncovered:
                continue
            _warned_uncovered.add(definition.name)
            _logger.warning(
                "step %r has a budget for its own calls only: what the nested step %r spends is not covered by it; "
                'give step %r scope="tree" to cover nested steps too',
                definition.name,
                self.definition.name,
                definition.name,
            )

    # -- what is to be done when the step is left ----------------------------------------------------------------

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the step is left, before its boundary decides: the latest first, each once."""
        with self._lock:
            self._on_leave.append(callback)

    def forget_on_leave(self, callback: Callable[[], None]) -> None:
        """Do not call `callback` any more; nothing happens if it is not there."""
        if not self._on_leave:
            return
        with self._lock:
            if callback in self._on_leave:
                self._on_leave.remove(callback)

    def run_leave_callbacks(self) -> BaseException | None:
        """Call what `on_leave` was given, each once, whatever is raised in it. What one of them adds is called too.

        Returns the first interrupt (`KeyboardInterrupt` and the like) that was raised in one, to be passed on.
        """
        interrupt: BaseException | None = None
        while self._on_leave:
            callback = self._on_leave.pop()
            try:
                with guard("settling what a step left open"):
                    callback()
            except BaseException as error:  # noqa: BLE001 -- passed on when the step has been left
                interrupt = interrupt or error
        return interrupt

    # -- what the span shows --------------------------------------------------------------------------------------

    def show(self) -> None:
        """Write to the span what has changed."""
        if self.span.is_recording():
            breached = None if self.breach is None else self.breach.limit
            if self.shown is None:
                self.shown = ShownTotals()
            self.shown.show(self.span, self.own, self.subtree, self.last_model, breached)


def forget_warnings() -> None:
    """Warn of everything again (tests)."""
    _warned_uncovered.clear()
