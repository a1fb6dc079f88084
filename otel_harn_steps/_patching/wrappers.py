"""Wrappers of ours: plain functions around plain functions, wrapt's proxies around everything else.

wrapt's proxy looks like a function, but its type shows, and it can be neither copied nor pickled: an app that hands a
client's method to a pool of processes would fail. A function in a function's place has the right type, Python itself
binds it, and it is pickled by its name, under which it is found again. As after `functools.wraps`, `inspect` finds the
original's source and signature by `__wrapped__`. What differs is `__code__`: Python leaves no choice there.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CoroutineType, FunctionType, MethodType
from typing import Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

from otel_harn_steps._patching.frames import passed_over, passed_over_code

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of the wrapped function: with it, the instance it is bound to, and the arguments."""
Fills = Callable[[], Mapping[str, Any]]

_ANY_ARGUMENTS: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_KINDS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


class Place(NamedTuple):
    """Where a wrapper is put: `owner` is a module or a class."""

    owner: Any
    name: str


class _Around(NamedTuple):
    """What a function of ours is around, as it was written, and whether it is in force."""

    original: Any
    is_enabled: Callable[[], bool]


_functions: WeakKeyDictionary[FunctionType, _Around] = WeakKeyDictionary()
"""Our functions. An attribute of theirs would not do: `functools.wraps` copies it to what others put around them."""


def _proxy(original: Any, wrapper: Wrapper, is_enabled: Callable[[], bool]) -> Any:
    from otel_harn_steps._patching.function_proxies import Proxy  # noqa: PLC0415 -- wrapt takes 50 ms to import

    return Proxy(original, wrapper, enabled=is_enabled)


def around(original: Any, place: Place, wrapper: Wrapper, is_enabled: Callable[[], bool], fills: Fills = dict) -> Any:
    """What to put in `place` so that `wrapper` is called there instead of `original`, while `is_enabled()`.

    Args:
        original: what is there, as it was written: a `classmethod`, not the method that it makes.
        place: where that is.
        wrapper: what is called.
        is_enabled: asked at every call.
        fills: which arguments the wrapper would fill in now where the app leaves them out.
    """
    passed_over(wrapper)
    form = type(original)
    function = original.__func__ if form in (staticmethod, classmethod) else original
    if type(function) is not FunctionType:
        return _proxy(original, wrapper, is_enabled)
    is_method = inspect.isclass(place.owner) and form is not staticmethod
    if inspect.iscoroutinefunction(function):
        wrapper = _as_coroutine_function(function, wrapper, fills, is_method=is_method)
    ours = _like(function, (_method if is_method else _function)(function, wrapper, is_enabled, MethodType))
    _name_after(place, ours)
    _functions[ours] = _Around(original, is_enabled)
    return ours if form is FunctionType else form(ours)


def is_ours(value: Any) -> bool:
    """Whether `value` is a wrapper of ours, or one as a class or an instance returns it."""
    if _in(value) is not None:
        return True
    made = sys.modules.get("otel_harn_steps._patching.function_proxies")
    return made is not None and issubclass(type(value), (made.Proxy, made.BoundProxy))


def is_ours_and_enabled(value: Any) -> bool:
    """Whether `value` is a wrapper of ours that is in force."""
    if is_wrapt(value):
        return is_ours(value) and bool(value._self_enabled())
    function = _in(value)
    return function is not None and _functions[function].is_enabled()


def is_wrapt(value: Any) -> bool:
    """Whether `value` is a proxy of wrapt's, ours or that of others."""
    wrapt = sys.modules.get("wrapt")  # where nobody has imported it, there is no such proxy
    return wrapt is not None and issubclass(type(value), wrapt.BaseObjectProxy)


def below(wrapper: Any) -> Any:
    """What a wrapper, ours or that of others, is around, as it was written.

    Raises:
        AttributeError: it is around nothing.
    """
    function = _in(wrapper)
    if function is None:
        return wrapper.__wrapped__
    original = _functions[function].original
    return function.__wrapped__ if type(original) is FunctionType else original  # type: ignore[attr-defined]  # as `_like` sets it


def chain(value: Any) -> Iterator[Any]:
    """`value` and what it is around, from the outermost inward."""
    yield value
    seen = [value]
    while True:
        try:
            value = below(value)
        except AttributeError:
            return
        if any(value is each for each in seen):
            return
        seen.append(value)
        yield value


def _in(value: Any) -> FunctionType | None:
    """The function of ours that `value` is, or is the static, class or bound method of."""
    if type(value) in (staticmethod, classmethod, MethodType):
        value = value.__func__
    return value if type(value) is FunctionType and value in _functions else None


# -- functions ---------------------------------------------------------------------------------------------------------

# Their globals are those of the original: they use nothing but their arguments and what they close over.


def _function(original: Any, wrapper: Wrapper, is_enabled: Callable[[], bool], _: Any) -> FunctionType:
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_enabled():
            return wrapper(original, None, args, kwargs)
        return original(*args, **kwargs)

    return cast("FunctionType", call)


def _method(original: Any, wrapper: Wrapper, is_enabled: Callable[[], bool], bound: Any) -> FunctionType:
    def call(*args: Any, **kwargs: Any) -> Any:
        if args and is_enabled():
            return wrapper(bound(original, args[0]), args[0], args[1:], kwargs)
        return original(*args, **kwargs)

    return cast("FunctionType", call)


def _like(original: FunctionType, call: FunctionType) -> FunctionType:
    """`call`, with everything of `original` by which a function is known."""
    code = passed_over_code(call.__code__)
    # Of what kind a function is, `inspect` reads from these flags. It is a plain one all the same, and returns the
    # coroutine or generator that the wrapper made: nothing is put off that is not put off without us.
    code = code.replace(co_flags=code.co_flags | original.__code__.co_flags & _KINDS)
    ours = FunctionType(code, original.__globals__, original.__name__, original.__defaults__, call.__closure__)
    ours.__kwdefaults__ = original.__kwdefaults__
    functools.update_wrapper(ours, original)
    # No `__signature__`, which would serve `inspect.getfullargspec`: `functools.wraps` around a bound method copies it,
    # with the `self` that is bound already.
    return ours


def _name_after(place: Place, ours: FunctionType) -> None:
    """Let `ours` be found where it is put, also where that is not where the original was defined.

    litellm shows functions of `litellm.main`. The original stays there, so that it is pickled by an app that has taken
    it before us; ours is pickled as `litellm.completion`.
    """
    if inspect.ismodule(place.owner):
        ours.__module__, ours.__qualname__ = place.owner.__name__, place.name


def _as_coroutine_function(original: FunctionType, wrapper: Wrapper, fills: Fills, *, is_method: bool) -> Wrapper:
    """`wrapper`, whose coroutines have the original's name, and which refuses wrong arguments at once, as that does."""
    check = _parameters_of(original) if inspect.iscoroutinefunction(wrapper) else None

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if check is not None:
            passed = (instance, *args) if is_method else args
            try:
                check(*passed, **kwargs)
            except TypeError:
                try:
                    check(*passed, **{**fills(), **kwargs})
                except TypeError:
                    return wrapped(*args, **kwargs)  # raises, with the client's own words
        made = wrapper(wrapped, instance, args, kwargs)
        if type(made) is CoroutineType:
            made.__name__, made.__qualname__ = original.__name__, original.__qualname__
        return made

    return passed_over(call)


def _parameters_of(original: FunctionType) -> FunctionType:
    """A function with the original's parameters that does nothing."""
    code = original.__code__
    count = code.co_argcount + code.co_kwonlyargcount + (code.co_flags & _ANY_ARGUMENTS).bit_count()
    nothing = (lambda: None).__code__
    nothing = nothing.replace(
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_varnames=code.co_varnames[:count],
        co_nlocals=count,
        co_flags=nothing.co_flags | code.co_flags & _ANY_ARGUMENTS,
    )
    check = FunctionType(nothing, {}, original.__name__, original.__defaults__)
    check.__kwdefaults__ = original.__kwdefaults__
    return check
