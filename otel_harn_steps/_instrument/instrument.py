"""`instrument()` and `uninstrument()`: patch what is installed, now or when it is imported, and put everything back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._calls.engine import Switch
from otel_harn_steps._calls.patches import patch_clients, unpatch_clients
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._cost.price_book import checked_rates, forget_prices
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.processor import StepSpanProcessor
from otel_harn_steps._settings import CallSpans, Rates, Settings, use_settings
from otel_harn_steps._steps.registry import watch_limits
from otel_harn_steps._telemetry.delivery import Sink
from otel_harn_steps._telemetry.metrics import start_at_zero
from otel_harn_steps.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_logger = logging.getLogger("otel_harn_steps")


def _client(provider: ClientAdapter) -> str:
    """The library that a provider's file is about: "litellm" of "litellm.completion"."""
    return provider.name.split()[0].partition(".")[0]


CLIENTS = tuple(dict.fromkeys(map(_client, ADAPTERS)))
"""The names of the client libraries that can be patched."""


class _State:
    """What `instrument()` has put in place."""

    processor: StepSpanProcessor | None = None
    provider: Any = None
    clients: tuple[ClientAdapter, ...] = ADAPTERS
    has_frameworks = False


def instrument(
    *,
    prices: Mapping[str, Rates] | None = None,
    models: Mapping[str, str] | None = None,
    unpriced: Literal["warn", "raise"] | Rates = "warn",
    call_spans: CallSpans = "auto",
    stream_usage: bool = True,
    metrics: bool = True,
    redact_errors: bool = False,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    sinks: Sequence[Sink] | None = None,
    clients: Sequence[str] | None = None,
    frameworks: Sequence[str] | Literal["auto"] | None = None,
    providers: Sequence[ClientAdapter] = (),
) -> None:
    """Patch the model clients, so that their calls are billed to the step that they run in.

    Clients that are imported later are patched then. A `StepSpanProcessor` is added to the SDK's tracer provider, if
    there is one; without an SDK budgets and records hold all the same. Called again, it changes the settings only.

    Args:
        prices: your own prices, before the price book: US dollars per million tokens by model, as in
            `{"my-model": {"input_mtok": 2.5, "output_mtok": 10}}`. Keys: "model", "provider:model", "provider:*".
        models: what stands behind names of your own (deployments, inference profiles), for the price: as in
            `{"my-prod-deployment": "gpt-4o"}`. Keys: "name", "provider:name".
        unpriced: what happens to a call of unknown price under a `max_usd` budget: "warn" (tokens are counted, dollars
            are not), "raise" (as if the budget were crossed), or the rates to assume for it.
        call_spans: whether each call gets a span of its own. "auto": unless another instrumentation makes one.
        stream_usage: whether an OpenAI chat stream is asked for its usage where the app did not ask. The app sees the
            same chunks either way.
        metrics: whether steps are counted in metrics.
        redact_errors: whether records and spans name the type of an app's exception instead of its message, which may
            quote a prompt. The messages of budget errors hold names and numbers only, and stay.
        tracer_provider: where spans go; default: the global one.
        meter_provider: where metrics go; default: the global one, which is best set before: counters of budget breaches
            begin at 0 here, and a provider that comes later does not see it.
        logger_provider: where log events go; default: the global one.
        sinks: callables that receive each `CompletedStep`; None keeps those of an earlier call.
        clients: which client libraries are patched, as in `["openai", "anthropic"]`; None: all that are known.
        frameworks: agent frameworks whose agents, nodes and tasks are steps by their own names, as in `["langgraph"]`:
            "openai-agents", "langgraph", "pydantic-ai", "crewai"; "auto" for all of them; None keeps those
            of an earlier call.
        providers: client libraries of your own, patched as those known here: see `otel_harn_steps.providers`.

    Raises:
        TypeError, ValueError: a setting is wrong; the message names it and what is allowed.
    """
    _check(call_spans, unpriced)
    for name, rates in (prices or {}).items():
        checked_rates(f"prices[{name!r}]", rates)
    for provider in providers:
        if isinstance(provider, type) or not hasattr(provider, "seams"):
            raise TypeError(f"providers must be instances of ClientAdapter, not {provider!r}")
    known = _checked_clients(clients)
    frameworks = None if frameworks is None else _checked_frameworks(frameworks)
    use_settings(
        Settings(
            prices=MappingProxyType(dict(prices or {})),
            models=MappingProxyType(_checked_models(models or {})),
            unpriced=unpriced,
            call_spans=call_spans,
            stream_usage=bool(stream_usage),
            metrics=bool(metrics),
            redact_errors=bool(redact_errors),
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
        )
    )
    forget_prices()
    _add_processor(tracer_provider, sinks)
    if _State.clients != known:
        unpatch_clients()  # some are no longer meant
        _State.clients = known
    patch_clients((*known, *providers))
    if frameworks is not None:
        _use_frameworks(frameworks)
    watch_limits(start_at_zero)
    Switch.is_on = True


def uninstrument() -> None:
    """Put every original back, remove the processor, and forget the settings."""
    Switch.is_on = False
    watch_limits(None)
    _use_frameworks(())
    unpatch_clients()
    _State.clients = ADAPTERS
    _remove_processor()
    use_settings(Settings())
    forget_prices()


def _check(call_spans: object, unpriced: object) -> None:
    if call_spans != "auto" and not isinstance(call_spans, bool):
        raise ValueError(f"call_spans must be 'auto', True or False, not {call_spans!r}")
    if isinstance(unpriced, str):
        if unpriced not in ("warn", "raise"):
            raise ValueError(f"unpriced must be 'warn', 'raise' or a mapping of rates, not {unpriced!r}")
    else:
        checked_rates("unpriced", unpriced)


def _checked_models(models: object) -> dict[str, str]:
    if not isinstance(models, Mapping):
        raise TypeError(f"models must be a mapping such as {{'my-deployment': 'gpt-4o'}}, not {models!r}")
    for name, model in models.items():
        if not isinstance(name, str) or not isinstance(model, str) or not model:
            raise TypeError(f"models must map names to names of models, not {name!r} to {model!r}")
    return dict(models)


def _checked_clients(clients: Sequence[str] | None) -> tuple[ClientAdapter, ...]:
    if clients is None:
        return ADAPTERS
    if isinstance(clients, str) or not isinstance(clients, Sequence):
        raise TypeError(f"clients must be a list of names such as ['openai'], not {clients!r}")
    _check_names("clients", clients, CLIENTS)
    return tuple(provider for provider in ADAPTERS if _client(provider) in clients)


def _checked_frameworks(frameworks: object) -> tuple[str, ...]:
    if frameworks == "auto":
        return FRAMEWORKS
    if isinstance(frameworks, str) or not isinstance(frameworks, Sequence):
        raise TypeError(f"frameworks must be 'auto' or a list of names such as ['langgraph'], not {frameworks!r}")
    _check_names("frameworks", frameworks, FRAMEWORKS)
    return tuple(frameworks)


def _check_names(setting: str, names: Sequence[object], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415 -- only for a mistake

            near = get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{setting} must be of {', '.join(known)}, not {name!r}{hint}")


def _use_frameworks(frameworks: tuple[str, ...]) -> None:
    if frameworks or _State.has_frameworks:
        from otel_harn_steps.frameworks._patching import patch_frameworks  # noqa: PLC0415 -- only where they are wanted

        patch_frameworks(frameworks)
        _State.has_frameworks = bool(frameworks)


def _add_processor(tracer_provider: TracerProvider | None, sinks: Sequence[Sink] | None) -> None:
    provider = tracer_provider or trace.get_tracer_provider()
    add = getattr(provider, "add_span_processor", None)
    if _State.processor is not None:
        if _State.provider is provider and sinks is None:
            return
        sinks = _State.processor.sinks if sinks is None else sinks
        _remove_processor()
    _State.processor = StepSpanProcessor(*(sinks or ()))
    _State.provider = provider
    if add is not None:
        with guard("adding the span processor", ours=False):
            add(_State.processor)


def _remove_processor() -> None:
    """Take the processor out of service. The SDK has no way to remove one, so it stays there, deaf."""
    if _State.processor is not None:
        _State.processor.shutdown()
        _State.processor = None
        _State.provider = None
