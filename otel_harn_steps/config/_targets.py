"""Finding the functions that a file names, when their modules are imported, and never before."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType
from typing import Any

from otel_harn_steps._arguments import did_you_mean
from otel_harn_steps._guard import guard
from otel_harn_steps._patching.patcher import Patcher, static
from otel_harn_steps.config._plan import PlannedStep
from otel_harn_steps.config._wrapping import as_step, called_by

_logger = logging.getLogger("otel_harn_steps")


@dataclass(frozen=True, slots=True)
class Found:
    """A function in its place: `vars(owner)[name]`, or inherited by `owner`."""

    owner: Any
    name: str
    path: str

    def value(self) -> Any:
        """What is there, as it was written: a `classmethod`, not the method that it makes."""
        return static(self.owner, self.name)


@dataclass(slots=True)
class Targets:
    """The targets of one file.

    Attributes:
        steps: what the file declares.
        on_seen: called with the number of each step whose target has been found, once.
    """

    steps: tuple[PlannedStep, ...]
    on_seen: Callable[[int], object] = lambda _number: None
    seen: set[int] = field(default_factory=set)
    _patcher: Patcher = field(default_factory=Patcher)
    _taken: set[tuple[str, str]] = field(default_factory=set)
    _is_watching: bool = False

    def watch(self) -> None:
        """Wrap each target when its module is imported: at once where it has been."""
        self._is_watching = True
        for module in dict.fromkeys(step.module for step in self.steps):
            if module not in ("__main__", ""):
                self._patcher.when_imported(module, functools.partial(self._imported, module))

    def unwrap(self) -> None:
        """Put every function back, and wrap no more."""
        self._is_watching = False
        self._patcher.close()
        self._taken.clear()

    def unseen(self) -> list[PlannedStep]:
        """The steps whose target has never appeared."""
        return [step for number, step in enumerate(self.steps) if number not in self.seen]

    def in_order(self, is_wanted: Callable[[PlannedStep], bool]) -> Iterator[tuple[int, PlannedStep]]:
        """The wanted steps with their numbers, exact targets first: they come before a pattern that fits as well."""
        wanted = enumerate(self.steps if self._is_watching else ())
        numbered = [(number, step) for number, step in wanted if is_wanted(step)]
        return iter(sorted(numbered, key=lambda each: each[1].is_pattern))

    def wrap(self, number: int, name: str, found: Any) -> Any:
        """`found` as a step; `found` itself, and a warning, where it cannot be one."""
        step = self.steps[number]
        self.note(number)
        with guard(f"wrapping {step.target}"):
            try:
                inner = called_by(found)
                if inner is None:
                    return as_step(step, name, found)
                # A framework keeps this object, and calls it by the function in it.
                self._patcher.replace(found, inner, as_step(step, name, getattr(found, inner)))
            except TypeError as error:
                _logger.warning("%s: target %r %s; it is not a step", step.where, step.target, error)
        return found

    def note(self, number: int) -> None:
        """The target of this step has appeared."""
        if number not in self.seen:
            self.seen.add(number)
            with guard("noting a target", ours=False):
                self.on_seen(number)

    def _imported(self, name: str, module: ModuleType) -> None:
        if not self._is_watching:
            return
        for number, step in self.in_order(lambda step: step.module == name):
            with guard(f"wrapping {step.target}"):
                self._wrap_all(number, step, module)

    def _wrap_all(self, number: int, step: PlannedStep, module: ModuleType) -> None:
        matches = list(find(module, step.pattern))
        if not matches:
            self.note(number)  # this warning is enough
            why = why_not(module, step.pattern)
            _logger.warning("%s: target %r is not there: %s; it is not a step", step.where, step.target, why)
        for match in matches:
            if (step.module, match.path) in self._taken:
                self.note(number)
                continue
            self._taken.add((step.module, match.path))
            original = match.value()
            wrapper = self.wrap(number, match.name, original)
            if wrapper is not original:
                self._patcher.replace(match.owner, match.name, wrapper)


def find(module: ModuleType, pattern: str) -> Iterator[Found]:
    """What `pattern` means in `module`: the exact thing, whatever it is; by a pattern, functions defined there."""
    parts = pattern.split(".")
    if not any(sign in pattern for sign in "*?["):
        owner: Any = module
        for part in parts[:-1]:
            owner = getattr(owner, part, None)
        if owner is not None and hasattr(owner, parts[-1]):
            yield Found(owner, parts[-1], pattern)
        return
    yield from _below(module, module.__name__, parts, ())


def _below(owner: Any, module: str, parts: list[str], path: tuple[str, ...]) -> Iterator[Found]:
    first, *rest = parts
    for name in [name for name in list(vars(owner)) if fits(name, first)]:
        here = (*path, name)
        value = vars(owner)[name]
        if rest and inspect.isclass(value) and value.__module__ == module:
            yield from _below(value, module, rest, here)
        elif not rest and _is_function_of(module, value):
            yield Found(owner, name, ".".join(here))


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern means this name. What begins with `_` is private, unless the pattern says so too."""
    return fnmatchcase(name, pattern) and (not name.startswith("_") or pattern.startswith("_"))


def _is_function_of(module: str, value: Any) -> bool:
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    return isinstance(function, FunctionType) and function.__module__ == module


def why_not(module: ModuleType, pattern: str) -> str:
    """Why `find` finds nothing, with what was probably meant."""
    if any(sign in pattern for sign in "*?["):
        return f"no function that is defined in {module.__name__} fits {pattern!r}"
    owner: Any = module
    path = module.__name__
    for part in pattern.split("."):
        if not hasattr(owner, part):
            return f"{path} has no {part!r}{did_you_mean(part, _names(owner))}"
        owner = getattr(owner, part)
        path = f"{path}.{part}"
    return f"{path} is there now"


def _names(owner: Any) -> Iterable[str]:
    return [name for name in dir(owner) if not name.startswith("__")]
