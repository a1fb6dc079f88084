"""What `instrument()` was told. Written by it alone, read wherever it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

Rates = Mapping[str, object]
"""US dollars by price key, as genai-prices names them: `{"input_mtok": 2.5, "output_mtok": 10}`."""

CallSpans = Literal["auto"] | bool


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, with its default.

    Attributes:
        prices: the user's prices, by "model", "provider:model" or "provider:*". They come before the price book.
        models: the model behind a name of the user's own, by "name" or "provider:name".
        unpriced: what a call without a price does under a `max_usd` budget: "warn", "raise", or rates to assume.
        call_spans: whether a call gets a span; "auto": unless another instrumentation makes one.
        stream_usage: whether a stream is asked for its usage where the app did not ask.
        metrics: whether steps are counted in metrics.
        redact_errors: whether the message of an app's exception is kept out of records and spans.
        tracer_provider, meter_provider, logger_provider: where telemetry goes; None for the global ones.
    """

    prices: Mapping[str, Rates] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unpriced: Literal["warn", "raise"] | Rates = "warn"
    call_spans: CallSpans = "auto"
    stream_usage: bool = True
    metrics: bool = True
    redact_errors: bool = False
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None


_current = Settings()


def settings() -> Settings:
    """The settings in force."""
    return _current


def use_settings(new: Settings) -> None:
    """Put `new` in force."""
    global _current  # noqa: PLW0603 -- the one place that holds the settings
    _current = new
