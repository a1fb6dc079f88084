"""The arguments of `instrument()`: spelled once, and checked before anything is touched."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, cast, get_args

from otel_harn_steps._arguments import above_zero, did_you_mean, flag, provider_or_none
from otel_harn_steps._clients import LIBRARIES
from otel_harn_steps._settings import FORMER_WORDS, Rates, Settings, UnknownSpend
from otel_harn_steps._telemetry.names import EMITTED
from otel_harn_steps.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import ClientAdapter
    from otel_harn_steps._steps.budget import Budget
    from otel_harn_steps._steps.label_budgets import LabelBudget
    from otel_harn_steps._telemetry.delivery import Sink

_P = ParamSpec("_P")
_Unpriced = UnknownSpend | Rates
_UNKNOWN_SPEND: Final = get_args(UnknownSpend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Settings):
    """The arguments of `instrument()`, with their defaults. Configuration files use the same names."""

    sinks: Sequence[Sink] = ()
    sink_queue: int | None = None
    clients: Sequence[str] | None = None
    frameworks: Sequence[str] | Literal["auto"] = ()
    providers: Sequence[ClientAdapter] = ()
    agents: Mapping[str, Budget | Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    budgets: Mapping[str, LabelBudget | Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    baggage_labels: Sequence[str] = ()
    threads: bool = False
    unseen_calls: bool = False


OPTIONS: Final = tuple(each.name for each in fields(Options))


def client_of(adapter: ClientAdapter) -> str:
    """The library that an adapter is about: "litellm" of "litellm.completion"."""
    return adapter.name.split()[0].partition(".")[0]


CLIENTS: Final = tuple(LIBRARIES)
"""The names of the client libraries that can be patched."""


def takes_options(
    options: Callable[_P, Options],
) -> Callable[[Callable[[Options], None]], Callable[_P, None]]:
    """Give a function the signature of `Options`. It gets them checked.

    Raises:
        TypeError, ValueError: an argument is unknown or wrong; the message names it and what is allowed.
    """

    def decorate(function: Callable[[Options], None]) -> Callable[_P, None]:
        @functools.wraps(function)
        def with_options(*args: _P.args, **kwargs: _P.kwargs) -> None:
            if args:
                raise TypeError(f"{function.__name__}() takes its arguments by their names, not {args[0]!r} alone")
            for name in kwargs:
                _check_word(f"{function.__name__}() has no argument {name!r}", name, OPTIONS, TypeError)
            function(checked(options(*args, **kwargs)))

        with_options.__signature__ = inspect.signature(options).replace(return_annotation=None)  # type: ignore[attr-defined]
        return with_options

    return decorate


def checked(options: Options) -> Options:
    """The options as values that cannot change, `clients` and `frameworks` in full.

    Raises:
        TypeError, ValueError: a value is wrong; the message names the argument, the value and what is allowed.
    """
    for name in ("stream_usage", "metrics", "redact_errors", "threads", "unseen_calls"):
        flag(name, getattr(options, name))
    for signal in ("tracer", "meter", "logger"):
        provider_or_none(f"{signal}_provider", getattr(options, f"{signal}_provider"), f"get_{signal}")
    if options.call_spans != "auto" and not isinstance(options.call_spans, bool):
        raise ValueError(f"call_spans must be 'auto', True or False, not {options.call_spans!r}")
    return replace(
        options,
        prices=MappingProxyType(_checked_prices(options.prices)),
        models=MappingProxyType(_checked_models(options.models)),
        unpriced=_checked_unpriced(options.unpriced),
        emit=_checked_emit(options.emit),
        conversation_label=_checked_label(options.conversation_label),
        unmetered=_checked_policy("unmetered", options.unmetered, "'estimate', 'ignore' or 'refuse'"),
        sinks=checked_sinks(options.sinks),
        sink_queue=checked_queue(options.sink_queue),
        metric_step_names=above_zero("metric_step_names", options.metric_step_names),
        metric_labels=_checked_labels("metric_labels", options.metric_labels),
        metric_label_values=above_zero("metric_label_values", options.metric_label_values),
        clients=_checked_clients(options.clients),
        frameworks=_checked_frameworks(options.frameworks),
        providers=_checked_providers(options.providers),
        pause_folder=_checked_folder(options.pause_folder),
        agents=MappingProxyType(_checked_agents(options.agents)),
        budgets=MappingProxyType(_checked_budgets(options.budgets)),
        baggage_labels=_checked_labels("baggage_labels", options.baggage_labels),
    )


_SINK_METHODS: Final = ("call_sent", "call_settled", "step_started", "step_ended")
_SINKS: Final = f"callables that take a CompletedStep, or objects with {' or '.join(_SINK_METHODS)}"


def checked_sinks(sinks: object) -> tuple[Sink, ...]:
    """The sinks, each an object that can be called with a record, or that has a method of `LedgerSink`."""
    if isinstance(sinks, (str, Mapping)) or not isinstance(sinks, Sequence):
        raise TypeError(f"sinks must be a list of {_SINKS}, not {sinks!r}")
    for sink in sinks:
        if isinstance(sink, type):
            raise TypeError(f"sinks must hold callables, not the class {sink!r}; did you mean {sink.__name__}(...)?")
        if not callable(sink) and not any(callable(getattr(sink, method, None)) for method in _SINK_METHODS):
            raise TypeError(f"sinks must hold {_SINKS}, not {sink!r}")
    return tuple(sinks)


def checked_queue(size: object) -> int | None:
    """The size of the queue before the sinks; None for no queue."""
    return None if size is None else above_zero("sink_queue", size, or_none=", or None for no queue")


def _checked_prices(prices: object) -> dict[str, Mapping[str, object]]:
    if not isinstance(prices, Mapping):
        raise TypeError(f"prices must be a mapping such as {{'my-model': {{'input_mtok': 2.5}}}}, not {prices!r}")
    for name, rates in prices.items():
        if not isinstance(name, str):
            raise TypeError(f"prices must have models as keys, such as 'my-model' or 'openai:*', not {name!r}")
        _check_rates(f"prices[{name!r}]", rates)
    return {name: MappingProxyType(dict(rates)) for name, rates in prices.items()}


def _check_rates(where: str, rates: object) -> None:
    from otel_harn_steps._cost.price_book import checked_rates  # noqa: PLC0415 -- only where there are rates

    if not checked_rates(where, rates):
        example = "{'input_mtok': 2.5, 'output_mtok': 10}; a model that is free has {'input_mtok': 0}"
        raise ValueError(f"{where} must have at least one rate, such as {example}, not {rates!r}")


def _checked_models(models: object) -> dict[str, str]:
    if not isinstance(models, Mapping):
        raise TypeError(f"models must be a mapping such as {{'my-deployment': 'gpt-4o'}}, not {models!r}")
    for name, model in models.items():
        if not isinstance(name, str) or not isinstance(model, str) or not model:
            raise TypeError(f"models must map names to names of models, not {name!r} to {model!r}")
    return dict(models)


def _checked_agents(agents: object) -> dict[str, Budget]:
    if not isinstance(agents, Mapping):
        raise TypeError(f"agents must be a mapping such as {{'researcher': {{'max_usd': 0.5}}}}, not {agents!r}")
    if not agents:
        return {}
    from otel_harn_steps._steps.budget import LIMITS, budget_of  # noqa: PLC0415 -- only where there are budgets

    checked: dict[str, Budget] = {}
    for name, budget in agents.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"agents must have names of agents or patterns as keys, not {name!r}")
        try:
            checked[name] = budget_of(budget, {})
        except (TypeError, ValueError) as error:
            raise type(error)(f"agents[{name!r}]: {error}") from None
        if not checked[name].is_limited:
            raise ValueError(f"agents[{name!r}] must have at least one of {', '.join(LIMITS)}, not {budget!r}")
    return checked


def _checked_budgets(budgets: object) -> dict[str, LabelBudget]:
    if not isinstance(budgets, Mapping):
        example = "{'tenants': {'key': 'tenant', 'max_usd': 5, 'window': 'day'}}"
        raise TypeError(f"budgets must be a mapping such as {example}, not {budgets!r}")
    if not budgets:
        return {}
    from otel_harn_steps._steps.label_budgets import label_budget_of  # noqa: PLC0415 -- only where there are some

    checked: dict[str, LabelBudget] = {}
    for name, budget in budgets.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"budgets must have names of budgets as keys, not {name!r}")
        try:
            checked[name] = label_budget_of(budget)
        except (TypeError, ValueError) as error:
            raise type(error)(f"budgets[{name!r}]: {error}") from None
    return checked


def _checked_labels(name: str, labels: object) -> tuple[str, ...]:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(f"{name} must be a list of names of labels such as ['tenant'], not {labels!r}")
    for label in labels:
        if not isinstance(label, str) or not label:
            raise TypeError(f"{name} must hold names of labels such as 'tenant', not {label!r}")
    return tuple(dict.fromkeys(labels))


def _checked_folder(folder: object) -> str | None:
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise TypeError(f"pause_folder must be a path, not {folder!r}")
    return os.fsdecode(folder)


def _checked_emit(emit: object) -> tuple[str, ...]:
    known = tuple(EMITTED)
    if isinstance(emit, (str, Mapping)) or not isinstance(emit, Sequence):
        raise TypeError(f"emit must be a list of names such as ['{known[0]}'], of {', '.join(known)}, not {emit!r}")
    return tuple(dict.fromkeys(_checked_names("emit", emit, known)))


def _checked_label(label: object) -> str:
    if not isinstance(label, str) or not label:
        raise TypeError(f"conversation_label must be the name of a label, such as 'conversation', not {label!r}")
    return label


def _checked_unpriced(unpriced: _Unpriced) -> _Unpriced:
    if isinstance(unpriced, Mapping):
        _check_rates("unpriced", unpriced)
        return MappingProxyType(dict(unpriced))
    return _checked_policy("unpriced", unpriced, "'estimate', 'ignore', 'refuse' or a mapping of rates")


def _checked_policy(name: str, policy: object, allowed: str) -> UnknownSpend:
    if policy in _UNKNOWN_SPEND:
        return cast("UnknownSpend", policy)
    renamed = FORMER_WORDS.get(policy) if isinstance(policy, str) else None
    hint = f"; {policy!r} is {renamed!r} now" if renamed else did_you_mean(policy, _UNKNOWN_SPEND)
    raise ValueError(f"{name} must be {allowed}, not {policy!r}{hint}")


def _checked_clients(clients: object) -> tuple[str, ...]:
    if clients is None:
        return CLIENTS
    if isinstance(clients, str) or not isinstance(clients, Sequence):
        raise TypeError(f"clients must be a list of names such as ['openai'], not {clients!r}")
    return _checked_names("clients", clients, CLIENTS)


def _checked_frameworks(frameworks: object) -> tuple[str, ...]:
    if frameworks == "auto":
        return FRAMEWORKS
    if isinstance(frameworks, str) or not isinstance(frameworks, Sequence):
        raise TypeError(f"frameworks must be 'auto' or a list of names such as ['langgraph'], not {frameworks!r}")
    return _checked_names("frameworks", frameworks, FRAMEWORKS)


def _checked_names(argument: str, names: Sequence[object], known: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        _check_word(f"{argument} must be of {', '.join(known)}, not {name!r}", name, known, ValueError)
    return tuple(str(name) for name in names)


def _check_word(mistake: str, word: object, known: Sequence[str], error: type[Exception]) -> None:
    if word not in known:
        raise error(mistake + did_you_mean(word, known))


def _checked_providers(providers: object) -> tuple[ClientAdapter, ...]:
    if isinstance(providers, (str, Mapping)) or not isinstance(providers, Sequence):
        raise TypeError(f"providers must be a list of ClientAdapter instances, not {providers!r}")
    for adapter in providers:
        if isinstance(adapter, type):
            raise TypeError(f"providers must be instances of ClientAdapter, not the class {adapter!r}")
        for attribute, kind, meaning in _OF_AN_ADAPTER:
            value = getattr(adapter, attribute, None)
            if not isinstance(value, kind) or not value:
                raise TypeError(f"{type(adapter).__name__}.{attribute} must be {meaning}, not {value!r}")
        for seam in adapter.seams:
            if not hasattr(seam, "module") or not hasattr(seam, "target"):
                raise TypeError(f"{type(adapter).__name__}.seams must hold instances of Seam, not {seam!r}")
    return tuple(providers)


_OF_AN_ADAPTER: Final = (
    ("name", str, "the client library's name, as in `import NAME`"),
    ("seams", Sequence, "a sequence of Seam with at least one: the functions that are patched"),
)
