"""Counters and histograms of spend. They do not depend on trace sampling: dashboards of spend stand on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard import guard
from otel_harn_steps._settings import Settings, settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.call_row import NO_STEP
from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram

    from otel_harn_steps._cost.usage import Usage
    from otel_harn_steps._telemetry.record import CompletedStep

_logger = logging.getLogger("otel_harn_steps")

OTHER_STEPS: Final = "other"
"""The name in metrics of the steps whose names are too many."""

_DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_COST_BUCKETS_USD = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50)


class _StepNames:
    """The names of steps that metrics have, so far. A metric keeps a series for each of them, for ever."""

    __slots__ = ("_is_full", "_known", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._known = {NO_STEP}
        self._is_full = False

    def label(self, name: str) -> str:
        """The name, or what stands for it where there are too many."""
        if name in self._known:
            return name
        if len(self._known) <= self._most:
            self._known.add(name)
            return name
        if not self._is_full:
            self._is_full = True
            _logger.warning(
                "steps have more than %d names: step %r and all further ones are %r in metrics; names should be few: "
                "what a run is about belongs into step(..., detail=...); more names are had by "
                "instrument(metric_step_names=...)",
                self._most,
                name,
                OTHER_STEPS,
            )
        return OTHER_STEPS


@dataclass(frozen=True, slots=True)
class _Instruments:
    step_names: _StepNames
    cost: Counter
    input_tokens: Counter
    output_tokens: Counter
    llm_calls: Counter
    breaches: Counter
    thresholds: Counter
    unpriced: Counter
    duration: Histogram
    run_cost: Histogram
    call_cost: Counter
    call_tokens: Counter
    calls: Counter

    @property
    def are_heard(self) -> bool:
        """Whether a metrics SDK takes what is counted. Until there is one, nothing has to be prepared for it."""
        # The API hands out counters that wait for an SDK; without that attribute, a counter is taken for a real one.
        return getattr(self.calls, "_real_instrument", self.calls) is not None


_made: tuple[Settings, _Instruments] | None = None


def _instruments() -> _Instruments:
    global _made  # noqa: PLW0603 -- one set for the settings in force, made again when they change
    now = settings()
    if _made is None or _made[0] is not now:
        from opentelemetry import metrics  # noqa: PLC0415 -- costs as much as all of this package: at the first record

        meter = metrics.get_meter(names.SCOPE, __version__, now.meter_provider)
        made = _Instruments(
            step_names=_StepNames(now.metric_step_names),
            cost=meter.create_counter(*names.METRIC_COST),
            input_tokens=meter.create_counter(*names.METRIC_INPUT_TOKENS),
            output_tokens=meter.create_counter(*names.METRIC_OUTPUT_TOKENS),
            llm_calls=meter.create_counter(*names.METRIC_LLM_CALLS),
            breaches=meter.create_counter(*names.METRIC_BREACHES),
            thresholds=meter.create_counter(*names.METRIC_THRESHOLDS),
            unpriced=meter.create_counter(*names.METRIC_UNPRICED),
            duration=meter.create_histogram(
                *names.METRIC_DURATION, explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S
            ),
            run_cost=meter.create_histogram(
                *names.METRIC_RUN_COST, explicit_bucket_boundaries_advisory=_COST_BUCKETS_USD
            ),
            call_cost=meter.create_counter(*names.METRIC_CALL_COST),
            call_tokens=meter.create_counter(*names.METRIC_CALL_TOKENS),
            calls=meter.create_counter(*names.METRIC_CALLS),
        )
        _made = now, made
    return _made[1]


def start_at_zero(step: str, limit: str) -> None:
    """Let the breaches of a limit begin at 0: Prometheus's `increase()` does not see a new series' first value.

    Only this counter can. Which model will answer, of which provider, is not known before it has: the other counters'
    series would be guesses.
    """
    if settings().metrics:
        with guard("starting a counter at zero", ours=False):
            _add_breaches(0, step, limit)


class Spend(Protocol):
    """What the calls of one model spent: tokens, and pico-dollars."""

    @property
    def llm_calls(self) -> int:
        """Calls."""

    @property
    def input_tokens(self) -> int:
        """Input tokens, cached ones included."""

    @property
    def output_tokens(self) -> int:
        """Output tokens, reasoning included."""

    @property
    def cost_picousd(self) -> int:
        """Pico-dollars of the priced calls."""

    @property
    def unpriced_calls(self) -> int:
        """Calls of unknown price."""


def count(record: CompletedStep, by_model: Mapping[tuple[str, str | None], Spend]) -> None:
    """Count what the step itself spent, by model and provider, and the run as a whole.

    Args:
        record: the step's record.
        by_model: what the step's own calls spent, by provider and model.
    """
    made = _instruments()
    if not made.are_heard:
        return
    run: dict[str, str] = {names.STEP_NAME: made.step_names.label(record.name), names.STATUS: record.status}
    made.duration.record((record.end_time - record.start_time) / 1e9, run)
    made.run_cost.record(record.cost_usd, run)
    if record.breach is not None:
        count_breach(record.name, record.breach)
    _count_spend(made, record.name, record.status, by_model)


def count_breach(step: str, limit: str) -> None:
    """Count a budget that was crossed."""
    _add_breaches(1, step, limit)


def count_threshold(step: str, share: float) -> None:
    """Count that a step has spent a share of its budget."""
    if settings().metrics:
        with guard("counting a share of a budget", ours=False):
            made = _instruments()
            made.thresholds.add(1, {names.STEP_NAME: made.step_names.label(step), names.BUDGET_SHARE: share})


def _add_breaches(number: int, step: str, limit: str) -> None:
    made = _instruments()
    made.breaches.add(number, {names.STEP_NAME: made.step_names.label(step), names.BUDGET_LIMIT: limit})


def count_spend(step: str, status: str, by_model: Mapping[tuple[str, str | None], Spend]) -> None:
    """Count what a step's own calls spent, by provider and model."""
    _count_spend(_instruments(), step, status, by_model)


def _count_spend(made: _Instruments, step: str, status: str, by_model: Mapping[tuple[str, str | None], Spend]) -> None:
    label = made.step_names.label(step)
    for (provider, model), spent in by_model.items():
        attributes = {
            names.STEP_NAME: label,
            names.STATUS: status,
            names.PROVIDER: provider,
            names.MODEL: model or "unknown",
        }
        # An amendment may take something back, which a counter cannot.
        made.llm_calls.add(max(spent.llm_calls, 0), attributes)
        made.input_tokens.add(max(spent.input_tokens, 0), attributes)
        made.output_tokens.add(max(spent.output_tokens, 0), attributes)
        made.cost.add(to_usd(max(spent.cost_picousd, 0)), attributes)
        if spent.unpriced_calls > 0:
            made.unpriced.add(spent.unpriced_calls, attributes)


def count_call(  # noqa: PLR0917 -- called once, for every call
    step: str, provider: str, model: str | None, certainty: str, usage: Usage | None, cost_picousd: int | None
) -> None:
    """Count a call as it ends, so that a step that runs for an hour is on a dashboard meanwhile."""
    made = _instruments()
    if not made.are_heard:
        return
    attributes = {
        names.STEP_NAME: made.step_names.label(step),
        names.PROVIDER: provider,
        names.MODEL: model or "unknown",
        names.CERTAINTY: certainty,
    }
    made.calls.add(1, attributes)
    if cost_picousd:
        made.call_cost.add(to_usd(cost_picousd), attributes)
    if usage is not None:
        if usage.input_tokens:
            made.call_tokens.add(usage.input_tokens, {**attributes, names.TOKEN_TYPE: "input"})
        if usage.output_tokens:
            made.call_tokens.add(usage.output_tokens, {**attributes, names.TOKEN_TYPE: "output"})
