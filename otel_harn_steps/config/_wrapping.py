"""Making a function of somebody else's the step that a file declares."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from string import Formatter
from types import FunctionType, MethodType
from typing import Any, Final, cast

import wrapt

from otel_harn_steps._steps import functions, generators
from otel_harn_steps._steps.decorator import Step
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps.config._plan import PlannedStep

OTHER = "other"
"""What a name has in place of a value that `allowed_values` does not list."""

_Function = Callable[..., Any]
_DECORATORS = frozenset({functions.__name__, generators.__name__})


_CALLED_BY: Final = {("click", "Command"): "callback", ("celery", "Task"): "run"}
"""By package and class, the attribute with the function that objects of the class call."""


def called_by(found: Any) -> str | None:
    """The attribute with the function that does the work of `found`, where its framework calls that and not `found`.

    Raises:
        TypeError: there is no such function.
    """
    for each in getattr(found.__class__, "__mro__", ()):  # of a Celery task that is a proxy, too: not `type(found)`
        name = _CALLED_BY.get((str(each.__module__).partition(".")[0], each.__name__))
        if name is not None and not inspect.isclass(found):
            if not callable(getattr(found, name, None)):
                kind = found.__class__.__name__
                raise TypeError(f"is a {kind} without a function of its own: its `{name}` is none")
            return name
    return None


def as_step(planned: PlannedStep, name: str, found: Any) -> Any:
    """The replacement for `found`, which is called `name` where it is.

    Raises:
        TypeError: `found` cannot be a step.
    """
    if isinstance(found, (staticmethod, classmethod)):
        return type(found)(as_step(planned, name, found.__func__))
    if inspect.isclass(found):
        raise TypeError("is a class; name the method that does the work, for instance its __call__")
    if isinstance(found, property):
        raise TypeError("is a property; a step is a function or a method")
    if not callable(found):
        raise TypeError(f"is of type {type(found).__name__}, not a function")
    found = _without_its_step(found)
    definition = planned.definition(name)
    if isinstance(definition.detail, str):
        definition = replace(definition, detail=_DetailOfArguments(definition.detail, found))
    if planned.allowed_values:
        return _proxy_of(found, _ByArguments(planned, definition, found))
    if isinstance(found, FunctionType):
        return Step.of(definition)(found)
    # A function in its place would lack what this has besides being called: `cache_clear`, `delay`, `invoke`.
    step = Step.of(definition)(_function_of(found))
    return _proxy_of(found, lambda _args, _kwargs: step)


def _without_its_step(found: Any) -> Any:
    """The function below `@step`: what the file declares replaces what the decorator did, whole."""
    while isinstance(found, FunctionType) and found.__globals__["__name__"] in _DECORATORS:
        found = found.__wrapped__  # type: ignore[attr-defined]  # both put it there by `functools.wraps`
    return found


def _function_of(found: Any) -> _Function:
    """A callable that shows whether it is asynchronous, as functions do and other objects do not."""
    if not _has_async_call(found):
        return cast("_Function", found)

    @functools.wraps(found, updated=())
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await found(*args, **kwargs)

    call.__qualname__ = getattr(found, "__qualname__", f"{type(found).__qualname__}.__call__")
    return call


class _StepProxy(wrapt.BaseObjectProxy[Any]):
    """Looks like the function in every respect; called, it is a step."""

    def __init__(self, function: _Function, choose: Callable[[Any, Any], _Function]) -> None:
        super().__init__(function)
        self._self_choose = choose

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_choose(args, kwargs)(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        is_method = instance is not None and hasattr(type(self.__wrapped__), "__get__")
        return MethodType(self, instance) if is_method else self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickled by its name, as a function is: a worker process finds the step there.
        return getattr(self.__wrapped__, "__qualname__", None) or self.__wrapped__.__reduce_ex__(protocol)


@wrapt.decorator
def _refuses_at_once(wrapped: _Function, proxy: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Raise for wrong arguments before there is a coroutine: uvicorn calls an app without any, to see if it can."""
    inspect.signature(proxy.__wrapped__.__call__).bind(*args, **kwargs)
    return wrapped(*args, **kwargs)


class _AsyncStepProxy(_StepProxy):
    """Of an object with an asynchronous `__call__`: an ASGI app. Servers ask whether it is asynchronous."""

    @_refuses_at_once
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._self_choose(args, kwargs)(*args, **kwargs)


def _proxy_of(found: Any, choose: Callable[[Any, Any], _Function]) -> _StepProxy:
    return (_AsyncStepProxy if _has_async_call(found) else _StepProxy)(found, choose)


def _has_async_call(found: Any) -> bool:
    return inspect.iscoroutinefunction(type(found).__call__)


class _ByArguments:
    """Chooses the step by the arguments of a call. Each name's step is made at its first call."""

    def __init__(self, planned: PlannedStep, definition: StepDefinition, function: Any) -> None:
        self._allowed: Mapping[str, tuple[str, ...]] = planned.allowed_values
        self._definition = definition
        self._function = _function_of(function)
        self._signature = _signature_of(function, "name")
        self._steps: dict[tuple[str, ...], _Function] = {}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Function:
        values = self._values(args, kwargs)
        step = self._steps.get(values)
        if step is None:
            step = self._steps[values] = Step.of(self._named(values))(self._function)
        return step

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:  # the function itself will say so
            return (OTHER,) * len(self._allowed)
        bound.apply_defaults()
        return tuple(_value(bound.arguments, path, allowed) for path, allowed in self._allowed.items())

    def _named(self, values: tuple[str, ...]) -> StepDefinition:
        by_path = dict(zip(self._allowed, values, strict=True))
        parts = Formatter().parse(self._definition.name)
        name = "".join(text + ("" if path is None else by_path[path]) for text, path, _, _ in parts)
        return StepDefinition(**{each: getattr(self._definition, each) for each in _FIELDS} | {"name": name})


class _DetailOfArguments:
    """Makes a detail of a text with placeholders and the arguments of a call."""

    def __init__(self, text: str, function: Any) -> None:
        self._parts = [(before, path) for before, path, _, _ in Formatter().parse(text)]
        has_placeholders = any(path is not None for _, path in self._parts)
        self._signature = _signature_of(function, "detail") if has_placeholders else None

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        arguments: Mapping[str, Any] = {}
        if self._signature is not None:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments
        return "".join(
            before + ("" if path is None else str(_argument(arguments, path))) for before, path in self._parts
        )


def _signature_of(function: Any, key: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        raise TypeError(f"has no signature that can be read, so its {key} cannot come from an argument") from None


def _argument(arguments: Mapping[str, Any], path: str) -> Any:
    argument, *attributes = path.split(".")
    return functools.reduce(getattr, attributes, arguments[argument])


_FIELDS = tuple(StepDefinition.__dataclass_fields__)


def _value(arguments: Mapping[str, Any], path: str, allowed: tuple[str, ...]) -> str:
    try:
        text = str(_argument(arguments, path))
    except Exception:  # noqa: BLE001 -- whatever a property or a `__str__` of the app's may raise
        return OTHER
    return text if text in allowed else OTHER
