"""Putting the engine's wrappers into client libraries, and taking them out again.

Others wrap the same methods. Ours goes below theirs, whoever comes first: what they do around a call is then around
ours too, and what they strip when they leave is their own.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType
from typing import Any, NamedTuple

import wrapt

from otel_harn_steps._calls.client import ClientAdapter, Seam
from otel_harn_steps._calls.engine import Switch, wrapper_for
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._guard import guard

_logger = logging.getLogger("otel_harn_steps")


class _OursBound(wrapt.BoundFunctionWrapper[Any, Any]):
    """Our wrapper, got from a class or an instance. Some keep it, and put it on a class when they leave."""


class _Ours(wrapt.FunctionWrapper[Any, Any]):
    """Our wrapper, told apart from those of others by its type."""

    __bound_function_wrapper__ = _OursBound


class _Link(NamedTuple):
    """One function of a chain of wrappers, and where it is held: `holder` has it as its attribute `name`."""

    holder: Any
    name: str
    function: Any

    @property
    def is_ours(self) -> bool:
        return isinstance(self.function, (_Ours, _OursBound))


class _Method(NamedTuple):
    """What a seam names. `package` is the client library that it belongs to."""

    owner: Any
    name: str
    package: str


_patched: dict[Seam, _Method] = {}
_missing: set[Seam] = set()
_hooked: set[tuple[str, str]] = set()
_bypassed: set[type] = set()
_wanted: list[ClientAdapter] = []  # import hooks can not be removed; this tells them


def patch_clients(providers: Iterable[ClientAdapter] = ADAPTERS) -> None:
    """Patch every client library: at once if it is imported, else when it is. What is patched already stays."""
    Switch.on_bypass = _patch_again
    for provider in providers:
        if provider not in _wanted:
            _wanted.append(provider)
        for module in {seam.module for seam in provider.seams}:
            if (provider.name, module) not in _hooked:
                _hooked.add((provider.name, module))
                wrapt.register_post_import_hook(functools.partial(_patch_imported, provider.name, module), module)
            if module in sys.modules:
                _patch_module(provider, module, sys.modules[module])


def _patch_again(kind: type) -> None:
    """Calls of a client class pass our wrapper by: others who left have put back what they found before we came."""
    if kind not in _bypassed:
        _bypassed.add(kind)
        patch_clients(tuple(_wanted))


def unpatch_clients() -> None:
    """Take ours out wherever it is. Where somebody holds it that we can not see, it stays and passes through."""
    _wanted.clear()
    for method in _patched.values():
        for owner in _holders(method):
            for link in reversed(list(_chain(owner, method))):
                if link.is_ours:
                    _take_out(link, method)
    _patched.clear()
    _bypassed.clear()


def _patch_imported(library: str, name: str, module: Any) -> None:
    for provider in _wanted:
        if provider.name == library:
            _patch_module(provider, name, module)


def _patch_module(provider: ClientAdapter, name: str, module: Any) -> None:
    for seam in provider.seams:
        if seam.module == name:
            with guard(f"patching {seam.module}.{seam.target}"):
                _patch(provider, seam, module)


def owner_in(module: Any, target: str) -> Any:
    """What has the function that `target` names: the module, or a class in it. None where the function is missing."""
    *path, name = target.split(".")
    owner = functools.reduce(lambda found, each: getattr(found, each, None), path, module)
    return owner if owner is not None and hasattr(owner, name) else None


def _patch(provider: ClientAdapter, seam: Seam, module: Any) -> None:
    owner = owner_in(module, seam.target)
    if owner is None:
        if not seam.is_optional and seam not in _missing:
            _missing.add(seam)
            _logger.warning(
                "%s.%s is missing in the installed version of %s: its calls are not billed to steps",
                seam.module,
                seam.target,
                provider.name,
            )
        return
    method = _patched[seam] = _Method(owner, seam.target.rpartition(".")[2], seam.module.partition(".")[0])
    wrapper = wrapper_for(provider, seam)
    for each in _holders(method):
        *_, innermost = chain = list(_chain(each, method))
        if not any(link.is_ours for link in chain):
            ours = _Ours(innermost.function, wrapper)
            # A closure calls what it holds with the instance as its first argument, as a class's attribute is called.
            is_called_on_class = isinstance(innermost.holder, CellType) and inspect.isclass(each)
            setattr(innermost.holder, innermost.name, ours.__get__(None, each) if is_called_on_class else ours)


def _take_out(link: _Link, method: _Method) -> None:
    original = link.function.__wrapped__
    if link.holder is method.owner and inspect.isclass(method.owner) and _inherited(method) is original:
        delattr(link.holder, link.name)
    else:
        setattr(link.holder, link.name, original)


def _inherited(method: _Method) -> Any:
    """What the class would have without a method of its own."""
    above = (vars(base) for base in method.owner.__mro__[1:])
    return next((names[method.name] for names in above if method.name in names), None)


def _holders(method: _Method) -> list[Any]:
    """The owner of a method, and the classes below it on which somebody has put the owner's own method, wrapped or not.

    A class that overrides the method is not one of them: it calls the owner's.
    """
    *_, bottom = _chain(method.owner, method)
    return [
        method.owner,
        *(each for each in _below(method.owner) if method.name in vars(each) and _ends_in(each, method, bottom)),
    ]


def _ends_in(owner: Any, method: _Method, bottom: _Link) -> bool:
    *_, innermost = _chain(owner, method)
    return innermost.function is bottom.function


def _below(owner: Any) -> Iterator[Any]:
    if inspect.isclass(owner):
        for each in type.__subclasses__(owner):
            yield each
            yield from _below(each)


def _chain(owner: Any, method: _Method) -> Iterator[_Link]:
    """The wrappers around a method from the outermost inward; last, what the client library itself has there."""
    function = vars(owner).get(method.name)
    if function is None:
        function = getattr(owner, method.name)
    link: _Link | None = _Link(owner, method.name, function)
    while link is not None:
        yield link
        link = _next(link.function, method.package)


def _next(function: Any, package: str) -> _Link | None:
    if isinstance(function, (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper)):
        return _Link(function, "__wrapped__", function.__wrapped__)
    # A plain function with `functools.wraps`. Those of the client library itself are part of the method, and so is what
    # makes a context manager of a generator.
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is None or not isinstance(function, FunctionType):
        return None
    if function.__globals__.get("__name__", "").partition(".")[0] in (package, "contextlib"):
        return None
    cell = next((each for each in function.__closure__ or () if _holds(each, wrapped)), None)
    return None if cell is None else _Link(cell, "cell_contents", cell.cell_contents)


def _holds(cell: CellType, wrapped: Any) -> bool:
    try:
        held = cell.cell_contents
    except ValueError:  # empty
        return False
    return _without_ours(held) is _without_ours(wrapped)


def _without_ours(function: Any) -> Any:
    while isinstance(function, (_Ours, _OursBound)):
        function = function.__wrapped__
    return function


__all__ = ["Switch", "owner_in", "patch_clients", "unpatch_clients"]
