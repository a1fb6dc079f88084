"""The GenAI conventions' own metrics of calls, counted with each call span that is ours.

An instrumentation that makes a call's span counts the call too: then it is not counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otel_harn_steps import _settings
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._settings import Settings
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.counts_after_fork import begin_at_zero
from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.util.types import AttributeValue

    from otel_harn_steps._cost.usage import Usage

# The conventions recommend these.
_DURATION_BUCKETS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_UNKNOWN: Final = "unknown"
_OF_A_CALL: Final = (
    names.OPERATION,
    names.PROVIDER,
    names.REQUEST_MODEL,
    names.RESPONSE_MODEL,
    names.SERVER_ADDRESS,
    names.SERVER_PORT,
)
"""The attributes of a call's span that these metrics have too."""


@dataclass(frozen=True, slots=True)
class _Instruments:
    duration: Histogram
    input_tokens: Counter
    output_tokens: Counter
    cache_read: Counter
    cache_write: Counter
    reasoning: Counter


_made: tuple[Settings, _Instruments] | None = None


def are_heard() -> bool:
    """Whether anybody takes these metrics. Until then, nothing has to be prepared for them."""
    if not _settings.in_force.metrics:
        return False
    counter = _instruments().input_tokens
    # As in `metrics`: the API hands out counters that wait for an SDK.
    return getattr(counter, "_real_instrument", counter) is not None


def _instruments() -> _Instruments:
    global _made  # noqa: PLW0603 -- one set for the settings in force, made again when they change
    now = _settings.in_force
    if _made is None or _made[0] is not now:
        from opentelemetry import metrics  # noqa: PLC0415 -- costs as much as all of this package: at the first call

        meter = metrics.get_meter(names.SCOPE, __version__, now.meter_provider, names.SCHEMA_URL)
        _made = (
            now,
            _Instruments(
                meter.create_histogram(*names.CLIENT_DURATION, explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S),
                meter.create_counter(*names.CLIENT_INPUT),
                meter.create_counter(*names.CLIENT_OUTPUT),
                meter.create_counter(*names.CLIENT_CACHE_READ),
                meter.create_counter(*names.CLIENT_CACHE_WRITE),
                meter.create_counter(*names.CLIENT_REASONING),
            ),
        )
    return _made[1]


@in_forked_child
def _forked() -> None:
    if _made is not None:
        begin_at_zero(_made[1])


def count_client_call(
    span: Mapping[str, AttributeValue], duration_s: float, usage: Usage | None, error_type: str | None
) -> None:
    """Count a call that has ended.

    Args:
        span: the attributes of its span.
        duration_s: from the request to the answer's end.
        usage: what it used. None: unknown, or none.
        error_type: of the error that it ended in.
    """
    made = _instruments()
    attributes = {name: value for name in _OF_A_CALL if (value := span.get(name)) is not None}
    made.duration.record(duration_s, attributes if error_type is None else {**attributes, names.ERROR_TYPE: error_type})
    if usage is None:
        return
    attributes[names.MODALITY] = _UNKNOWN
    for counter, tokens in (
        (made.input_tokens, usage.input_tokens),
        (made.output_tokens, usage.output_tokens),
        (made.cache_read, usage.cache_read_tokens),
        (made.cache_write, usage.cache_write_tokens),
        (made.reasoning, usage.reasoning_tokens),
    ):
        if tokens:
            counter.add(tokens, attributes)
