"""The settings that the layers below `instrument()` read. Only the current instrumentation changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

Rates = Mapping[str, object]
"""US dollars by price key, as genai-prices names them: `{"input_mtok": 2.5, "output_mtok": 10}`."""

UnknownSpend = Literal["estimate", "ignore", "refuse"]
"""What a budget does about spend that is unknown."""
FORMER_WORDS: Final = MappingProxyType({"warn": "ignore", "raise": "refuse"})
"""What values of `UnknownSpend` were called before, for messages."""

CallSpans = Literal["auto"] | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of `instrument()` that other modules read while the app runs. `instrument()` documents them."""

    prices: Mapping[str, Rates] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unpriced: UnknownSpend | Rates = "estimate"
    unmetered: UnknownSpend = "estimate"
    call_spans: CallSpans = "auto"
    emit: Sequence[str] = ()
    conversation_label: str = "conversation"
    stream_usage: bool = True
    metrics: bool = True
    metric_step_names: int = 1000
    metric_labels: Sequence[str] = ()
    metric_label_values: int = 100
    redact_errors: bool = False
    pause_folder: str | None = None
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None


_DEFAULTS = Settings()
in_force = _DEFAULTS
"""Read as `_settings.in_force`, and set by `use_settings` alone."""


def use_settings(new: Settings | None) -> None:
    """Put `new` in force; None: the defaults."""
    global in_force  # noqa: PLW0603 -- the one place that holds the settings
    in_force = _DEFAULTS if new is None else new
