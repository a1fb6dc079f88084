"""Before a limit is reached: what is left, cheaper models, more budget. What was done is kept for the record."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack
from weakref import ref

from otel_harn_steps import _process
from otel_harn_steps._cost.money import to_picousd, to_usd
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.admission import Admission
from otel_harn_steps._steps.budget import LIMITS, Limits
from otel_harn_steps._steps.by_label import by_label
from otel_harn_steps._steps.definition import StepErrorBoundary, model_of
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.hooks import threshold_reached
from otel_harn_steps._steps.thresholds import Threshold
from otel_harn_steps._telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

_logger = logging.getLogger("otel_harn_steps")
_EMITTING: Final = guard("emitting the event of a share of a budget", ours=False)
DECIDING: Final[ContextVar[bool]] = ContextVar("otel_harn_steps.deciding", default=False)
"""Whether this is who decides about a pause: a call to a model that is made here would wait for itself."""
REFUSED: Final = "refused"
"""The limit of a step that a hook has refused."""


class Remaining(NamedTuple):
    """What is left of the budgets that cover a step's own calls: of each limit the least. None: no such limit.

    Below 0 where a limit has been crossed. Dollars and tokens are what has been spent for certain, and estimated; what
    calls in flight may spend is not taken off.
    """

    tokens: int | None = None
    usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        """One line that a model can be told, such as "Budget: $0.04 and 3 calls left."."""
        parts = [
            None if self.usd is None else f"${max(self.usd, 0):.4f}".removesuffix("00"),
            _counted(self.tokens, "token"),
            _counted(self.input_tokens, "input token"),
            _counted(self.output_tokens, "output token"),
            _counted(self.calls, "call"),
            _counted(self.seconds, "second"),
        ]
        known = [part for part in parts if part is not None]
        return f"Budget: {' and '.join(known)} left." if known else ""


class Asker:
    """Who asks whether a step may spend more, for as long as it does: one that was interrupted is gone."""

    __slots__ = ("__weakref__",)


class _Pause(NamedTuple):
    """Somebody is asked whether a step may spend more; or has said that it may not."""

    forks: int
    asker: ref[Asker] | None = None

    @property
    def is_over(self) -> bool:
        return self.asker is None

    @property
    def is_asking(self) -> bool:
        return self.forks == _process.forks and self.asker is not None and self.asker() is not None


def _counted(left: float | None, unit: str) -> str | None:
    if left is None:
        return None
    number = round(max(left, 0))
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


class Steered(Admission):
    """What may be steered while it runs.

    Attributes:
        budget_events: what was done about its budget, oldest first: "notified:0.5", "downgraded:gpt-5-nano",
            "told:0.9", "raised:max_usd=2", "would have stopped:max_usd", "paused:max_usd", "decided:terminal",
            "stopped:max_usd".
    """

    __slots__ = ("_model", "_pause", "_reached", "_tells_from", "budget_events")

    budget_events: tuple[str, ...]
    _model: str | None
    _pause: _Pause | None
    _reached: int
    _tells_from: float | None

    @property
    def default_model(self) -> str | None:
        """The model of calls that name none: what they were downgraded to, else the step's own."""
        for account in (self, *self.coverers(by_label(self))):
            if account._model is not None:
                return str(account._model)
        return self.definition.model

    @property
    def is_told(self) -> bool:
        """Whether a budget that covers its own calls is so far spent that its model is to be told what is left."""
        return any(account._tells() for account in self.coverers(by_label(self)))

    def _tells(self) -> bool:
        # A budget that was raised is not spent so far any more.
        return self._tells_from is not None and self._share_spent() >= self._tells_from

    def remaining(self) -> Remaining:
        """What is left to spend here."""
        found: dict[str, list[float]] = {name: [] for name in Remaining._fields}
        with self.tree.lock:
            for account in self.covering(by_label(self)):
                for name, left in account._left():
                    found[name].append(left)
        return Remaining(**{name: min(each) for name, each in found.items() if each})  # type: ignore[arg-type]  # numbers

    def use_model(self, model: str) -> None:
        """Let calls that name no model use this one from now on.

        Raises:
            TypeError, ValueError: `model` is no name of a model.
        """
        self._model = model_of(model)
        self._keep(f"model:{model}")

    def raise_budget(self, **limits: Unpack[Limits]) -> None:
        """Allow more. A step that was exhausted goes on if that is enough.

        Raises:
            TypeError: a limit is of the wrong type, or unknown.
            ValueError: a limit is out of range, lower than it was, or was none; or the budget is one that the processes
                of a run share.
        """
        with self.tree.lock:
            before = self.definition.budget
            for name, value in limits.items():
                was: Any = getattr(before, name, None)
                if name in LIMITS and (was is None or value is None or value < was):
                    raise ValueError(f"raise_budget: {name} is {was!r} and can only be raised, not set to {value!r}")
            if self.shared is not None:
                raise ValueError("raise_budget: the budget of a run is shared by its processes, and cannot be raised")
            self.definition = replace(self.definition, budget=replace(before, **limits))  # type: ignore[arg-type]  # checked
            budget = self.definition.budget
            self._max_picousd, self._max_call_picousd = budget.max_picousd, budget.max_call_picousd
            if self.breach is not None and not self._crosses_still(self.breach):
                self.breach, self.refused = None, 0
            for name, value in limits.items():
                self._keep(f"raised:{name}={value}")
        self.tree.changed()

    # -- a pause, in which somebody decides: see `_steps.pausing` ------------------------------------------------------

    @property
    def is_of_pause(self) -> bool:
        """Whether its boundary is "pause"."""
        return self.definition.boundary is StepErrorBoundary.PAUSE

    @property
    def is_pausing(self) -> bool:
        """Whether somebody is to decide about what its budget does not let in: until the first time it was stopped."""
        is_over = self._pause is not None and self._pause.is_over
        return self.is_of_pause and self.status is None and not is_over and not DECIDING.get()

    def has_raised(self, error: StepBudgetExceeded) -> bool:
        """Whether the limit that `error` is about has been raised since."""
        limit = getattr(self.definition.budget, error.limit, None)
        return limit is not None and limit > error.limit_value

    def begins_pause(self, limit: str, asker: Asker) -> bool:
        """Whether `asker` is the first to ask who decides. Else it is to wait for that one's `end_pause`."""
        with self.tree.lock:
            if self._pause is not None and self._pause.is_asking:
                return False
            self._pause = _Pause(_process.forks, ref(asker))
            self._keep(f"paused:{limit}")
        return True

    def decided(self, by: str) -> None:
        """Somebody has decided: "hook", "folder", "terminal" or "nobody"."""
        self._keep(f"decided:{by}")

    def end_pause(self, stopped: str | None) -> None:
        """Let others go on. `stopped` is the limit that stops the step from now on; None where it is not stopped."""
        with self.tree.lock:
            self._pause = None if stopped is None else _Pause(_process.forks)
            if stopped is not None:
                self._keep(f"stopped:{stopped}")
        self.tree.changed()

    def refuse_calls(self, reason: str) -> None:
        """Let none of this step's own calls be sent: they raise `StepBudgetExceeded` with this reason."""
        with self.tree.lock:
            if self not in self._coverers:
                self._coverers = (self, *self._coverers)
            self._is_limited = self.is_covered = True
            self.breach = StepBudgetExceeded(
                step=self.definition.name,
                function=self.definition.function,
                limit=REFUSED,
                limit_value=0,
                consumed_tokens=self._covered().budget_tokens,
                consumed_cost_usd=to_usd(self._covered().budget_picousd),
                error_boundary=self.definition.error_boundary,
                detail=f"step `{self.definition.name}` was refused: {reason}",
                owner=self,
            )
            self._keep("refused")  # without the reason, which is the app's own text

    def _keep(self, event: str) -> None:
        self.budget_events = (*self.budget_events, event)
        if self.kind != "step":  # of a step, its record has them
            _logger.info("%s: %s", self.whose, event)

    def _stops(self, limit: str) -> bool:
        is_first = self.would_have_stopped is None
        stops = super()._stops(limit)
        if not stops and is_first:
            self._keep(f"would have stopped:{limit}")
        return stops

    def _crosses_still(self, breach: StepBudgetExceeded) -> bool:
        spent, max_calls = self._covered(), self.definition.budget.max_calls
        if breach.limit == "max_calls" and max_calls is not None and spent.llm_calls >= max_calls:
            return True
        if breach.limit == "max_cost_per_call" and not breach.projected and self._max_call_picousd is not None:
            cost = to_picousd(breach.consumed)
            if cost is not None and cost > self._max_call_picousd:
                return True
        return self._full(spent) is not None or self._is_late() or breach.limit in ("loop", REFUSED)

    def _left(self) -> Iterable[tuple[str, float]]:
        """What is left of each limit of this account's own budget."""
        budget, spent = self.definition.budget, self._covered()
        if budget.max_tokens is not None:
            yield "tokens", budget.max_tokens - spent.budget_tokens
        if self._max_picousd is not None:
            yield "usd", to_usd(self._max_picousd - spent.budget_picousd)
        if budget.max_input_tokens is not None:
            yield "input_tokens", budget.max_input_tokens - spent.budget_input_tokens
        if budget.max_output_tokens is not None:
            yield "output_tokens", budget.max_output_tokens - spent.budget_output_tokens
        if budget.max_calls is not None:
            yield "calls", budget.max_calls - spent.llm_calls
        if budget.max_seconds is not None:
            yield "seconds", budget.max_seconds - (monotonic() - self._began_s)

    def _share_spent(self) -> float:
        return self.budget_used() or 0.0

    def budget_used(self) -> float | None:
        """The share of its fullest limit that is spent: 1 is all of it. None: it has no limit that has a share."""
        budget = self.definition.budget
        limits = {
            "tokens": budget.max_tokens,
            "usd": None if self._max_picousd is None else to_usd(self._max_picousd),
            "input_tokens": budget.max_input_tokens,
            "output_tokens": budget.max_output_tokens,
            "calls": budget.max_calls,
            "seconds": budget.max_seconds,
        }
        shares = [1 - left / limit if (limit := limits[name]) else 1.0 for name, left in self._left()]
        return max(shares, default=None)

    def reach_thresholds(self) -> list[Threshold]:
        """The thresholds that are reached now and were not before, with what they do to this account done.

        To be called under the lock; `tell_of_threshold` with each of them after it.
        """
        waiting = self.definition.budget.thresholds[self._reached :]
        if not waiting:
            return []
        spent = self._share_spent()
        news = [each for each in waiting if each.share <= spent]
        self._reached += len(news)
        for each in news:
            event = _EVENTS[each.action].format(share=each.share, model=each.model)
            if each.action != "notify" and self.definition.budget.mode == "shadow":
                self._keep(f"would have {event}")
                continue
            if each.action == "downgrade":
                self._model = each.model
            if each.action == "tell":
                self._tells_from = each.share
            self._keep(event)
        return news

    def tell_of_threshold(self, threshold: Threshold) -> None:
        """Tell the app: its hooks, its log, and a counter."""
        name = self.definition.name
        _logger.info("%s has spent %.0f %% of its budget", self.whose, threshold.share * 100)
        metrics.count_threshold(name, threshold.share)
        with _EMITTING:
            from otel_harn_steps._telemetry.threshold_events import emit_threshold  # noqa: PLC0415 -- hardly ever needed

            spent = self._covered()
            emit_threshold(
                {
                    "name": name,
                    "budget_of": self.kind,
                    "share": threshold.share,
                    "action": threshold.action,
                    "tokens": spent.budget_tokens,
                    "cost_usd": to_usd(spent.budget_picousd),
                    "llm_calls": spent.llm_calls,
                    "run_id": _process.run_id,
                    **({} if self.label is None else {"label": self.label[0], "label_value": self.label[1]}),
                }
            )
        threshold_reached(self, threshold.share)


_EVENTS: Final = {"notify": "notified:{share}", "downgrade": "downgraded:{model}", "tell": "told:{share}"}
