"""Puts wrappers in place, and takes all of them out again.

Others wrap the same methods. Where it matters who is inside (`wrap_innermost`), our wrapper goes below theirs,
whether they came first or we did: what they do around a call then includes ours, and when they leave they strip only
their own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from otel_harn_steps._patching import closures
from otel_harn_steps._patching.imports import forget_import, when_imported
from otel_harn_steps._patching.wrappers import (
    Fills,
    Place,
    Wrapper,
    around,
    below,
    chain,
    is_ours,
    is_ours_and_enabled,
    is_wrapt,
)


class _Placed(NamedTuple):
    """One attribute that was set: what is there now, what was there, and whether the attribute is new."""

    owner: Any
    name: str
    value: Any
    original: Any
    is_new: bool

    def put_back(self) -> None:
        """Restore the attribute. Where others hold the value out of our reach, it stays; a wrapper passes through."""
        if vars(self.owner).get(self.name) is self.value:
            if self.is_new:
                delattr(self.owner, self.name)
            else:
                setattr(self.owner, self.name, self.original)
        elif is_ours(self.value):
            layers = list(chain(static(self.owner, self.name)))
            number = next((number for number, each in enumerate(layers) if each is self.value), 0)
            if number and is_wrapt(layers[number - 1]):
                layers[number - 1].__wrapped__ = self.original
        elif is_wrapt(self.value):
            import wrapt  # noqa: PLC0415 -- takes 50 ms, and is imported where there is such a wrapper

            with suppress(wrapt.WrapperNotOutermostError):
                wrapt.unwrap_object(self.owner, self.name, self.value, missing_ok=True)


class _Method(NamedTuple):
    """A method wrapped by `wrap_innermost`. `package` is the library that it belongs to."""

    owner: Any
    name: str
    package: str
    fills: Fills


_in_force: dict[tuple[Any, str], list[bool]] = {}
"""By owner and name, whether wrappers of `wrap_innermost` are in force there: an empty list where they are not.

One for each function and not for each patcher. Others keep a wrapper of ours and put it back later, when they leave: by
then another patcher may be at work, and the wrapper has to be as well.
"""


class Patcher:
    """What one owner has put in place. After `close()`, whatever could not be taken out passes through."""

    def __init__(self) -> None:
        self._placed: list[_Placed] = []
        self._methods: dict[_Method, Wrapper] = {}
        # By function, its one wrapper wherever a library has put it: pickled by its name, a function has to be the one
        # that is found there.
        self._innermost: dict[FunctionType, FunctionType] = {}
        self._callbacks: list[tuple[str, Callable[[ModuleType], None]]] = []
        self._open = [True]

    def when_imported(self, module: str, callback: Callable[[ModuleType], None]) -> None:
        """Call `callback` with the module: now if it is imported, else once it is. Never after `close()`."""
        self._callbacks.append((module, callback))
        when_imported(module, callback)

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap `owner.name`, around what is there. Once only."""
        before = static(owner, name)
        if not any(map(is_ours_and_enabled, chain(before))):
            self.replace(owner, name, around(before, Place(owner, name), wrapper, _is_filled(self._open)))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name` to `value` until `close()`."""
        self._placed.append(_Placed(owner, name, value, static(owner, name), name not in vars(owner)))
        setattr(owner, name, value)

    def wrap_innermost(self, owner: Any, name: str, wrapper: Wrapper, package: str, fills: Fills = dict) -> None:
        """Wrap `owner.name` below the wrappers of others, also on subclasses that have a wrapped copy of the method.

        Can be called again: others may have put back what they found before we came.

        Args:
            owner: the module or class.
            name: the function.
            wrapper: what is called instead.
            package: the library that the function belongs to, whose own decorators are part of the function.
            fills: which arguments the wrapper would fill in now where the app leaves them out.
        """
        method = _Method(owner, name, package, fills)
        self._methods[method] = wrapper
        in_force = _in_force.setdefault((owner, name), [])
        in_force[:] = [True]
        for holder in _holders(method):
            layers = _layers(holder, method)
            if any(map(is_ours_and_enabled, layers)):
                continue
            *above, innermost = layers
            is_function = type(innermost) is FunctionType
            ours = self._innermost.get(innermost) if is_function else None
            if ours is None:
                ours = around(innermost, Place(holder, name), wrapper, _is_filled(in_force), fills)
            if is_function:
                self._innermost[innermost] = ours
            if above:
                _put_below(above[-1], innermost, ours, holder)
            else:
                setattr(holder, name, ours)

    def wrap_again(self, kind: type) -> None:
        """Wrap the methods of `kind` and of its bases once more: calls of it have passed our wrapper by."""
        for method, wrapper in list(self._methods.items()):
            if inspect.isclass(method.owner) and issubclass(kind, method.owner):
                self.wrap_innermost(method.owner, method.name, wrapper, method.package, method.fills)

    def close(self) -> None:
        """Take everything out, and call no import callback any more."""
        self._open.clear()
        for module, callback in self._callbacks:
            forget_import(module, callback)
        for method in self._methods:
            _in_force[method.owner, method.name].clear()
        for method in self._methods:
            for holder in _holders(method):
                _take_out(holder, method)
        for placed in reversed(self._placed):
            placed.put_back()
        self._callbacks.clear()
        self._methods.clear()
        self._innermost.clear()
        self._placed.clear()


def _is_filled(values: list[bool]) -> Callable[[], bool]:
    """Whether a list holds something. wrapt asks at every call, and this is the cheapest answer."""
    return cast("Callable[[], bool]", values.__len__)


def owner_in(module: Any, target: str) -> Any:
    """The module, or the class in it, that has the function `target` names. None where the function is missing."""
    *path, name = target.split(".")
    owner = functools.reduce(lambda found, each: getattr(found, each, None), path, module)
    return owner if owner is not None and hasattr(owner, name) else None


def is_patched(module: Any, target: str) -> bool:
    """Whether the function has a wrapper of ours that is in force."""
    owner, name = owner_in(module, target), target.rpartition(".")[2]
    return owner is not None and any(map(is_ours_and_enabled, chain(static(owner, name))))


def static(owner: Any, name: str) -> Any:
    """The attribute as it was written: a `classmethod`, not the method that it makes."""
    return (inspect.getattr_static if inspect.isclass(owner) else getattr)(owner, name)


def _layers(holder: Any, method: _Method) -> list[Any]:
    """The wrappers around a method from the outermost inward; last, what the library itself has there."""
    layers: list[Any] = []
    for layer in chain(static(holder, method.name)):
        layers.append(layer)
        if not is_ours(layer) and not is_wrapt(layer) and not closures.is_of_others(layer, method.package):
            break
    return layers


def _holders(method: _Method) -> list[Any]:
    """The owner of a method, and the classes below it on which somebody has put the owner's own method, wrapped or not.

    A class that overrides the method is not one of them: it calls the owner's.
    """
    bottom = _layers(method.owner, method)[-1]
    return [
        method.owner,
        *(each for each in _below(method.owner) if method.name in vars(each) and _layers(each, method)[-1] is bottom),
    ]


def _below(owner: Any) -> Iterator[Any]:
    if inspect.isclass(owner):
        for each in type.__subclasses__(owner):
            yield each
            yield from _below(each)


def _put_below(above: Any, before: Any, now: Any, holder: Any) -> None:
    """Let the wrapper `above` call `now` in place of `before`."""
    if not is_wrapt(above):
        # The closure calls what it holds as a class's attribute is called: with the instance first.
        closures.hold(above, now.__get__(None, holder) if inspect.isclass(holder) else now)
        return
    import wrapt  # noqa: PLC0415 -- as above

    above.__wrapped__ = now
    # wrapt binds a bound wrapper that somebody has put on a class again for each instance, and then asks not it but the
    # wrapper that it was once bound from.
    if issubclass(type(above), wrapt.BoundFunctionWrapper):
        parent = above._self_parent
        if parent is not None and parent.__wrapped__ is before:
            parent.__wrapped__ = now


def _take_out(holder: Any, method: _Method) -> None:
    """Take every wrapper of ours that is not in force any more out of a method."""
    while True:
        layers = _layers(holder, method)
        closed = (number for number, each in enumerate(layers) if is_ours(each) and not is_ours_and_enabled(each))
        number = next(closed, None)
        if number is None:
            return
        before, now = layers[number], below(layers[number])
        if number:
            _put_below(layers[number - 1], before, now, holder)
        else:
            _restore(holder, method.name, now)


def _restore(holder: Any, name: str, original: Any) -> None:
    """Set what was there before, where it was defined; where it was inherited, remove what hides it."""
    owners = [each for each in inspect.getmro(holder) if name in vars(each)] if inspect.isclass(holder) else [holder]
    if len(owners) > 1 and vars(owners[1])[name] is original:
        delattr(owners[0], name)
    else:
        setattr(owners[0], name, original)
