"""`step`: declares a step, as a decorator or as a context manager."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TypeVar, cast, overload

from otel_harn_steps._steps.active import ActiveStep, current_step
from otel_harn_steps._steps.definition import (
    Budget,
    StepDefinition,
    agent_of,
    boundary_of,
    model_of,
    scope_of,
)
from otel_harn_steps._steps.generators import async_generator_step, generator_step
from otel_harn_steps._steps.registry import declare_limits, registered_step
from otel_harn_steps._steps.run import StepRun

_F = TypeVar("_F", bound=Callable[..., Any])

_NOT_A_STEP: AbstractContextManager[None] = nullcontext()


@overload
def step(function: _F, /) -> _F: ...


@overload
def step(
    name: str | None,
    /,
    *,
    model: str | None = None,
    max_tokens: float | None = None,
    max_usd: float | Decimal | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    error_boundary: Literal["fail", "continue", "escalate"] | None = None,
    fallback: object = None,
    scope: Literal["step", "tree"] = "step",
    agent: str | None = None,
    **metadata: object,
) -> Step: ...


@overload
def step(
    *,
    name: str | None = None,
    model: str | None = None,
    max_tokens: float | None = None,
    max_usd: float | Decimal | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    error_boundary: Literal["fail", "continue", "escalate"] | None = None,
    fallback: object = None,
    scope: Literal["step", "tree"] = "step",
    agent: str | None = None,
    **metadata: object,
) -> Step: ...


def step(function_or_name: Any = None, /, *, name: Any = None, **declared: Any) -> Any:  # noqa: D417 -- they are in `declared`
    """Declare a step, as a decorator or to be entered.

    `@step`, `@step("plan", max_usd=0.05)`, `with step("plan") as active:`, `async with step("plan") as active:`.
    Works on functions, methods, coroutine functions, generators and async generators. A generator step is active only
    while its own body runs.

    Args:
        function_or_name: the function, where used as a bare decorator; else the step's name (default: the function's).
        name: the step's name, by keyword.
        model: the model for calls that name none.
        max_tokens: limit of input and output tokens together.
        max_usd: limit in US dollars; 0 means that nothing may be spent.
        budget: both limits, as a `Budget` or as a mapping with "max_tokens" and "max_usd".
        error_boundary: what a budget error does when it leaves the step: "fail" (default), "continue", "escalate".
        fallback: what the caller gets from a step that ended by "continue".
        scope: "step" (default): the budget covers the step's own calls; "tree": nested steps too.
        agent: the agent that the step belongs to, shown as `gen_ai.agent.name`.
        metadata: further keys, kept on the definition and not enforced.

    Raises:
        TypeError, ValueError: a value is of the wrong type, or out of range.
    """
    if name is None and isinstance(function_or_name, str):
        name = function_or_name
    elif function_or_name is not None:
        if name is not None or declared:
            raise TypeError(f"step takes a function alone or a name with options, not {function_or_name!r} and options")
        return Step(None).__call__(function_or_name)
    return Step(name, **declared)


class Step:
    """A declared step, ready to decorate functions and to be entered. Made by `step(...)`."""

    __slots__ = ("_definition", "_entered", "_is_named")

    def __init__(
        self,
        name: str | None,
        *,
        model: str | None = None,
        max_tokens: float | None = None,
        max_usd: float | Decimal | None = None,
        budget: Budget | Mapping[str, object] | None = None,
        error_boundary: str | None = None,
        fallback: object = None,
        scope: str = "step",
        agent: str | None = None,
        **metadata: object,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, not {name!r}")
        limits = _limits(budget, max_tokens, max_usd)
        self._is_named = name is not None
        self._entered: list[StepRun] = []
        self._definition = StepDefinition(
            name=name or "",
            function=name or "",
            model=model_of(model),
            max_tokens=limits.max_tokens,
            max_usd=limits.max_usd,
            error_boundary=boundary_of(error_boundary),
            fallback=fallback,
            scope=scope_of(scope),
            agent=agent_of(agent),
            metadata=MappingProxyType(metadata),
        )

    @classmethod
    def of(cls, definition: StepDefinition) -> Step:
        """The step that `definition` declares."""
        made = cls(definition.name)
        made._definition = definition
        return made

    @property
    def definition(self) -> StepDefinition:
        """What was declared. As a decorator, the function's name is filled in."""
        return self._definition

    # -- as a decorator --------------------------------------------------------------------------------------------

    def __call__(self, function: _F) -> _F:
        """Make `function` this step."""
        if isinstance(function, (classmethod, staticmethod)):
            return cast("_F", type(function)(self(function.__func__)))
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"a step is a function or a method, not {function!r}")
        return cast("_F", _wrap(self._definition_for(function), function))

    def _definition_for(self, function: Callable[..., Any]) -> StepDefinition:
        target = function.func if isinstance(function, functools.partial) else function
        qualified = getattr(target, "__qualname__", type(target).__name__).rpartition("<locals>.")[2]
        name = self._definition.name if self._is_named else getattr(target, "__name__", qualified)
        return replace(self._definition, name=name, function=qualified)

    # -- as a context manager ----------------------------------------------------------------------------------------

    def __enter__(self) -> ActiveStep:
        """Enter the step. Entering again, nested or in parallel, makes a new active step each time."""
        if not self._is_named:
            raise TypeError('a step that is entered needs a name: with step("plan"): ...')
        run = StepRun(self._definition)
        self._entered.append(run)
        return run.active

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Leave the step: the boundary decides what the caller sees."""
        verdict = self._current_run().leave(error)
        if error is not None and verdict.error is error:
            return False
        verdict.settle(None, None)
        return error is not None

    async def __aenter__(self) -> ActiveStep:
        """As `__enter__`."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """As `__exit__`."""
        return self.__exit__(kind, error, traceback)

    def _current_run(self) -> StepRun:
        # Tasks and threads may hold the same object entered: the run to leave is the one that is active here.
        here = current_step()
        while here is not None:
            for run in reversed(self._entered):
                if run.active is here:
                    self._entered.remove(run)
                    return run
            here = here.parent
        return self._entered.pop()


def enter_step(function: str) -> AbstractContextManager[ActiveStep | None]:
    """Enter the step that is registered for `function`: yields its `ActiveStep`, or None where there is none."""
    definition = registered_step(function)
    return _NOT_A_STEP if definition is None else Step.of(definition)


def _limits(budget: Budget | Mapping[str, Any] | None, max_tokens: Any, max_usd: Any) -> Budget:
    if budget is None:
        return Budget(max_tokens, max_usd)
    if max_tokens is not None or max_usd is not None:
        raise TypeError("a step takes a budget or its limits (max_tokens, max_usd), not both")
    if isinstance(budget, Budget):
        return budget
    if not isinstance(budget, Mapping):
        raise TypeError(f"budget must be a Budget or a mapping, not {budget!r}")
    unknown = set(budget) - {"max_tokens", "max_usd"}
    if unknown:
        raise ValueError(f"budget has max_tokens and max_usd, not {', '.join(map(repr, sorted(unknown)))}")
    return Budget(budget.get("max_tokens"), budget.get("max_usd"))


def _wrap(definition: StepDefinition, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a step, of the same kind as the function: plain, coroutine, generator, async generator."""
    declare_limits(definition)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
            run = StepRun(definition)
            try:
                value = await function(*args, **kwargs)
            except BaseException as error:
                verdict = run.leave(error)
                if verdict.error is error:
                    raise
                return verdict.settle(None, definition.fallback)
            return run.leave(None).settle(value, definition.fallback)

        return run_coroutine
    if inspect.isasyncgenfunction(function):
        return async_generator_step(definition, function)
    if inspect.isgeneratorfunction(function):
        return generator_step(definition, function)

    @functools.wraps(function)
    def run_function(*args: Any, **kwargs: Any) -> Any:
        run = StepRun(definition)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            verdict = run.leave(error)
            if verdict.error is error:
                raise
            return verdict.settle(None, definition.fallback)
        return run.leave(None).settle(value, definition.fallback)

    return run_function
