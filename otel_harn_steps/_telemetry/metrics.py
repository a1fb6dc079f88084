"""Counters and histograms of spend. They do not depend on trace sampling: dashboards of spend stand on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.context import get_current

from otel_harn_steps import _settings
from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._guard import guard
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._settings import Settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.call_row import NO_STEP
from otel_harn_steps._telemetry.counts_after_fork import begin_at_zero
from otel_harn_steps._telemetry.tracer import is_suppressed
from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram

    from otel_harn_steps._cost.usage import Usage
    from otel_harn_steps._telemetry.record import CompletedStep

_logger = logging.getLogger("otel_harn_steps")

OTHER: Final = "other"
"""What stands in metrics for the names of steps, and for the values of a label, that are too many."""

_DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SHARE_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.25, 1.5, 2, 5)
_COST_BUCKETS_USD = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50)


class _Kept:
    """The values of an attribute that metrics have, so far. A metric keeps a series for each of them, for ever.

    Args:
        most: how many there may be.
        warning: what is logged at the first that is too many, with that number, the value, and what stands for it.
        known: what there is besides.
    """

    __slots__ = ("_is_full", "_known", "_most", "_warning")

    def __init__(self, most: int, warning: str, *known: str) -> None:
        self._warning = warning
        self._known = set(known)
        self._most = most + len(known)
        self._is_full = False

    def label(self, value: str) -> str:
        """The value, or what stands for it where there are too many."""
        if value in self._known:
            return value
        if len(self._known) < self._most:
            self._known.add(value)
            return value
        if not self._is_full:
            self._is_full = True
            _logger.warning(self._warning, value, OTHER)
        return OTHER


def _kept_names(now: Settings) -> _Kept:
    most = now.metric_step_names
    warning = (
        f"steps have more than {most} names: step %r and all further ones are %r in metrics; names should be few: what "
        "a run is about belongs into step(..., detail=...); more names are had by instrument(metric_step_names=...)"
    )
    return _Kept(most, warning, NO_STEP)


def _kept_labels(now: Settings) -> tuple[tuple[str, str, _Kept], ...]:
    """Of each label that metrics have: its name, its attribute, and its values."""
    most = now.metric_label_values
    warning = "has more than {} values: %r and all further ones are %r in metrics; more are had by {}"
    more = warning.format(most, "instrument(metric_label_values=...)")
    return tuple(
        (name, names.LABEL + name, _Kept(most, f"label {name!r} ".replace("%", "%%") + more))
        for name in now.metric_labels
    )


@dataclass(frozen=True, slots=True)
class _Instruments:
    step_names: _Kept
    labels: tuple[tuple[str, str, _Kept], ...]
    cost: Counter
    input_tokens: Counter
    output_tokens: Counter
    llm_calls: Counter
    breaches: Counter
    thresholds: Counter
    unpriced: Counter
    unmetered: Counter
    cache_read_tokens: Counter
    reasoning_tokens: Counter
    duration: Histogram
    run_cost: Histogram
    budget_used: Histogram
    call_cost: Counter
    call_tokens: Counter
    calls: Counter
    cache_savings: Counter
    unseen: Counter

    def label(self, attributes: dict[str, str], labels: Mapping[str, str]) -> None:
        """Add the labels that metrics have."""
        for name, attribute, kept in self.labels:
            value = labels.get(name)
            if value is not None:
                attributes[attribute] = kept.label(value)


_made: tuple[Settings, _Instruments] | None = None


def _instruments() -> _Instruments:
    global _made  # noqa: PLW0603 -- one set for the settings in force, made again when they change
    now = _settings.in_force
    if _made is None or _made[0] is not now:
        from opentelemetry import metrics  # noqa: PLC0415 -- costs as much as all of this package: at the first record

        meter = metrics.get_meter(names.SCOPE, __version__, now.meter_provider, names.SCHEMA_URL)
        made = _Instruments(
            step_names=_kept_names(now),
            labels=_kept_labels(now),
            cost=meter.create_counter(*names.METRIC_COST),
            input_tokens=meter.create_counter(*names.METRIC_INPUT_TOKENS),
            output_tokens=meter.create_counter(*names.METRIC_OUTPUT_TOKENS),
            llm_calls=meter.create_counter(*names.METRIC_LLM_CALLS),
            breaches=meter.create_counter(*names.METRIC_BREACHES),
            thresholds=meter.create_counter(*names.METRIC_THRESHOLDS),
            unpriced=meter.create_counter(*names.METRIC_UNPRICED),
            unmetered=meter.create_counter(*names.METRIC_UNMETERED),
            cache_read_tokens=meter.create_counter(*names.METRIC_CACHE_READ),
            reasoning_tokens=meter.create_counter(*names.METRIC_REASONING),
            duration=meter.create_histogram(
                *names.METRIC_DURATION, explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S
            ),
            run_cost=meter.create_histogram(
                *names.METRIC_RUN_COST, explicit_bucket_boundaries_advisory=_COST_BUCKETS_USD
            ),
            budget_used=meter.create_histogram(
                *names.METRIC_BUDGET_USED, explicit_bucket_boundaries_advisory=_SHARE_BUCKETS
            ),
            call_cost=meter.create_counter(*names.METRIC_CALL_COST),
            call_tokens=meter.create_counter(*names.METRIC_CALL_TOKENS),
            calls=meter.create_counter(*names.METRIC_CALLS),
            cache_savings=meter.create_counter(*names.METRIC_CACHE_SAVINGS),
            unseen=meter.create_counter(*names.METRIC_UNSEEN),
        )
        _made = now, made
    return _made[1]


@in_forked_child
def _forked() -> None:
    if _made is not None:
        begin_at_zero(_made[1])


def start_at_zero(step: str, limit: str) -> None:
    """Let the breaches of a limit begin at 0: Prometheus's `increase()` does not see a new series' first value.

    Only this counter can. Which model will answer, of which provider, is not known before it has: the other counters'
    series would be guesses.
    """
    if _settings.in_force.metrics:
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
    def cache_read_tokens(self) -> int:
        """Of the input tokens, those read from a cache."""

    @property
    def reasoning_tokens(self) -> int:
        """Of the output tokens, those spent on reasoning."""

    @property
    def cost_picousd(self) -> int:
        """Pico-dollars of the priced calls."""

    @property
    def unpriced_calls(self) -> int:
        """Calls of unknown price."""

    @property
    def unmetered_calls(self) -> int:
        """Calls of unknown usage."""


def are_heard() -> bool:
    """Whether anybody takes these metrics. Until then, nothing has to be prepared for them."""
    if not _settings.in_force.metrics:
        return False
    calls = _instruments().calls
    # The API hands out counters that wait for an SDK; without that attribute, a counter is taken for a real one.
    return getattr(calls, "_real_instrument", calls) is not None


def count(
    record: CompletedStep,
    by_model: Mapping[tuple[str, str | None], Spend],
    budget_used: Callable[[], float | None] | None = None,
) -> None:
    """Count what the step itself spent, by model and provider, and the run as a whole.

    Args:
        record: the step's record.
        by_model: what the step's own calls spent, by provider and model.
        budget_used: finds the share of its fullest limit that it has used, which takes long. None: it has no limit.
    """
    made = _instruments()
    run: dict[str, str] = {names.STEP_NAME: made.step_names.label(record.name), names.STATUS: record.status}
    if made.labels:
        made.label(run, record.labels)
    made.duration.record((record.end_time - record.start_time) / 1e9, run)
    made.run_cost.record(record.cost_usd, run)
    share = None if budget_used is None else budget_used()
    if share is not None:
        made.budget_used.record(share, run)
    if record.breach is not None:
        count_breach(record.name, record.breach)
    _count_spend(made, record.name, record.status, record.labels, by_model)


def count_breach(step: str, limit: str) -> None:
    """Count a budget that was crossed."""
    _add_breaches(1, step, limit)


def count_threshold(step: str, share: float) -> None:
    """Count that a step has spent a share of its budget."""
    if _settings.in_force.metrics:
        with guard("counting a share of a budget", ours=False):
            made = _instruments()
            made.thresholds.add(1, {names.STEP_NAME: made.step_names.label(step), names.BUDGET_SHARE: share})


def _add_breaches(number: int, step: str, limit: str) -> None:
    made = _instruments()
    made.breaches.add(number, {names.STEP_NAME: made.step_names.label(step), names.BUDGET_LIMIT: limit})


def count_spend(
    step: str, status: str, labels: Mapping[str, str], by_model: Mapping[tuple[str, str | None], Spend]
) -> None:
    """Count what a step's own calls spent, by provider and model."""
    _count_spend(_instruments(), step, status, labels, by_model)


def _count_spend(
    made: _Instruments,
    step: str,
    status: str,
    labels: Mapping[str, str],
    by_model: Mapping[tuple[str, str | None], Spend],
) -> None:
    label = made.step_names.label(step)
    for (provider, model), spent in by_model.items():
        attributes = {
            names.STEP_NAME: label,
            names.STATUS: status,
            names.PROVIDER: provider,
            names.MODEL: model or "unknown",
        }
        if made.labels:
            made.label(attributes, labels)
        # An amendment may take something back, which a counter cannot.
        made.llm_calls.add(max(spent.llm_calls, 0), attributes)
        made.input_tokens.add(max(spent.input_tokens, 0), attributes)
        made.output_tokens.add(max(spent.output_tokens, 0), attributes)
        made.cost.add(to_usd(max(spent.cost_picousd, 0)), attributes)
        if spent.unpriced_calls > 0:
            made.unpriced.add(spent.unpriced_calls, attributes)
        if spent.unmetered_calls > 0:
            made.unmetered.add(spent.unmetered_calls, attributes)
        if spent.cache_read_tokens > 0:
            made.cache_read_tokens.add(spent.cache_read_tokens, attributes)
        if spent.reasoning_tokens > 0:
            made.reasoning_tokens.add(spent.reasoning_tokens, attributes)


def count_call(  # noqa: PLR0917 -- called once, for every call
    step: str,
    provider: str,
    model: str | None,
    certainty: str,
    usage: Usage | None,
    cost_picousd: int | None,
    labels: Mapping[str, str],
    cache_savings_picousd: int | None = None,
) -> None:
    """Count a call as it ends, so that a step that runs for an hour is on a dashboard meanwhile.

    To be called where these metrics `are_heard`.
    """
    if is_suppressed(get_current()):
        return
    made = _instruments()
    attributes = {
        names.STEP_NAME: made.step_names.label(step),
        names.PROVIDER: provider,
        names.MODEL: model or "unknown",
        names.CERTAINTY: certainty,
    }
    if made.labels:
        made.label(attributes, labels)
    made.calls.add(1, attributes)
    if cost_picousd:
        made.call_cost.add(to_usd(cost_picousd), attributes)
    # A counter only grows: cached input that costs more than other input is not counted.
    if cache_savings_picousd is not None and cache_savings_picousd > 0:
        made.cache_savings.add(to_usd(cache_savings_picousd), attributes)
    if usage is not None:
        if usage.input_tokens:
            made.call_tokens.add(usage.input_tokens, {**attributes, names.TOKEN_TYPE: "input"})
        if usage.output_tokens:
            made.call_tokens.add(usage.output_tokens, {**attributes, names.TOKEN_TYPE: "output"})


def count_unseen(host: str) -> None:
    """Count a request to a model that no patched client made."""
    if _settings.in_force.metrics:
        with guard("counting an unseen call", ours=False):
            _instruments().unseen.add(1, {names.HOST: host})
