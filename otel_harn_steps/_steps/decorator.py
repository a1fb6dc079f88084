"""`step`: declares a step, as a decorator or as a context manager."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from threading import get_ident
from types import FrameType, TracebackType
from typing import Any, Generic, Literal, NamedTuple, Never, ParamSpec, TypeVar, Unpack, cast, overload

from otel_harn_steps._arguments import did_you_mean, text, text_or_none
from otel_harn_steps._steps.active import ActiveStep, current_step
from otel_harn_steps._steps.budget import KEYS, Budget, Limits
from otel_harn_steps._steps.definition import Detail, StepDefinition, StepErrorBoundary, boundary_of
from otel_harn_steps._steps.functions import stepped
from otel_harn_steps._steps.registry import declare_limits, registered_step
from otel_harn_steps._steps.run import StepRun

_logger = logging.getLogger("otel_harn_steps")

_F = TypeVar("_F", bound=Callable[..., Any])
_P = ParamSpec("_P")
_T = TypeVar("_T")
_Yield = TypeVar("_Yield")
_Send = TypeVar("_Send")
_Fallback = TypeVar("_Fallback")
_Fallback_co = TypeVar("_Fallback_co", covariant=True)
"""What a step may return in place of its function's value; Never where its boundary is not "continue"."""

_NOT_A_STEP: AbstractContextManager[None] = nullcontext()
_OPTIONS = (
    "name",
    "model",
    "budget",
    "error_boundary",
    "fallback",
    "scope",
    "agent",
    "metadata",
    "detail",
    *KEYS,
)


@overload
def step(function: _F, /) -> _F: ...


@overload
def step(
    positional_name: str | None = None,
    /,
    *,
    error_boundary: Literal["continue"],
    fallback: _Fallback,
    name: str | None = None,
    model: str | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    scope: Literal["step", "tree"] = "step",
    agent: str | None = None,
    metadata: Mapping[str, object] | None = None,
    detail: Detail = None,
    **limits: Unpack[Limits],
) -> Step[_Fallback]: ...


@overload
def step(
    positional_name: str | None = None,
    /,
    *,
    error_boundary: Literal["continue"],
    name: str | None = None,
    model: str | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    scope: Literal["step", "tree"] = "step",
    agent: str | None = None,
    metadata: Mapping[str, object] | None = None,
    detail: Detail = None,
    **limits: Unpack[Limits],
) -> Step[None]: ...


@overload
def step(
    positional_name: str | None = None,
    /,
    *,
    error_boundary: Literal["fail", "escalate", "pause"] | None = None,
    name: str | None = None,
    model: str | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    scope: Literal["step", "tree"] = "step",
    agent: str | None = None,
    metadata: Mapping[str, object] | None = None,
    detail: Detail = None,
    **limits: Unpack[Limits],
) -> Step[Never]: ...


def step(function_or_name: Any = None, /, *, name: Any = None, **options: Any) -> Any:  # noqa: D417 -- they are in `options`
    """Declare a step, as a decorator or to be entered.

    `@step`, `@step("plan", max_usd=0.05)`, `with step("plan") as active:`, `async with step("plan") as active:`.
    Works on functions, methods, coroutine functions, generators and async generators, and on callables that return a
    coroutine or an async generator. A generator step is active only while its own body runs.

    Args:
        function_or_name: the function, where used as a bare decorator; else the step's name (default: the function's).
        name: the step's name, by keyword.
        model: the model for calls that name none.
        max_tokens, max_usd, max_calls, ...: the limits of a `Budget`, and how it is held.
        budget: the same in one, as a `Budget` or as a mapping.
        error_boundary: what a budget error does when it leaves the step: "fail" (default), "continue", "escalate"; with
            "pause" somebody decides before it is raised: see `on_budget_pause`.
        fallback: what the caller gets from a step that ended by "continue" (default: None). A function is called for
            it, with the error and the partial answer. Only for callables that return once: a `with` block and a
            generator cannot deliver it.
        scope: "step" (default): the budget covers the step's own calls; "tree": nested steps too.
        agent: the agent that the step belongs to, shown as `gen_ai.agent.name`.
        metadata: what else belongs to the step: kept on the definition and not enforced.
        detail: what a run of the step is about, such as a ticket's number: on its span and record, and on no metric. A
            name should have few values; this may have any number. For decorated functions also a function of the same
            arguments that returns it: `detail=lambda ticket: ticket.id`. Its faults are logged and dropped.

    Raises:
        TypeError, ValueError: an option is unknown, of the wrong type, or out of range.
    """
    for option in options:
        if option not in _OPTIONS:
            raise TypeError(
                f"step has no option {option!r}{did_you_mean(option, _OPTIONS)} "
                f"Allowed: {', '.join(_OPTIONS)}; what else belongs to a step goes into metadata={{...}}"
            )
    if name is None and isinstance(function_or_name, str):
        name = function_or_name
    elif function_or_name is not None:
        if name is not None or options:
            raise TypeError(f"step takes a function alone or a name with options, not {function_or_name!r} and options")
        return Step[Never](None).__call__(function_or_name)
    return Step[Any](name, **options)


class Step(Generic[_Fallback_co]):
    """A declared step, ready to decorate functions and to be entered. Made by `step(...)`.

    One object may be entered many times at once, by threads and tasks: each entry is an active step of its own.
    """

    __module__ = "otel_harn_steps"  # the public place, for tracebacks, `error.type` and pickles

    __slots__ = ("_definition", "_entered", "_is_named")

    def __init__(
        self,
        name: str | None,
        *,
        error_boundary: str | None = None,
        fallback: object = None,
        metadata: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        text_or_none("name", name)
        boundary = boundary_of(error_boundary)
        if fallback is not None and boundary != StepErrorBoundary.CONTINUE:
            raise ValueError(
                f"fallback is delivered by error_boundary 'continue' alone, not by {str(boundary or 'fail')!r}"
            )
        self._is_named = name is not None
        self._entered: dict[int, _Entry] = {}  # by the id of the active step, which lives as long
        self._definition = StepDefinition(
            name or "",
            name or "",
            error_boundary=boundary,
            fallback=fallback,
            metadata={} if metadata is None else metadata,
            **options,
        )

    @classmethod
    def of(cls, definition: StepDefinition) -> Step[Any]:
        """The step that `definition` declares."""
        made = Step[Any](definition.name)
        made._definition = definition
        return made

    @property
    def definition(self) -> StepDefinition:
        """What was declared. As a decorator, the function's name is filled in."""
        return self._definition

    # -- as a decorator --------------------------------------------------------------------------------------------

    @overload
    def __call__(self: Step[Never], function: _F, /) -> _F: ...

    @overload
    def __call__(
        self, function: Callable[_P, Coroutine[_Yield, _Send, _T]], /
    ) -> Callable[_P, Coroutine[_Yield, _Send, _T | _Fallback_co]]: ...

    @overload
    def __call__(
        self, function: Callable[_P, Generator[_Yield, _Send, _T]], /
    ) -> Callable[_P, Generator[_Yield, _Send, _T | _Fallback_co]]: ...

    @overload
    def __call__(
        self, function: Callable[_P, AsyncGenerator[_Yield, _Send]], /
    ) -> Callable[_P, AsyncGenerator[_Yield, _Send]]: ...

    @overload
    def __call__(self, function: Callable[_P, _T], /) -> Callable[_P, _T | _Fallback_co]: ...

    def __call__(self, function: Any, /) -> Any:
        """Make `function` this step.

        Raises:
            TypeError: `function` is no function, or cannot deliver the step's fallback.
        """
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"a step is a function or a method, not {function!r}")
        definition = self._definition_for(function)
        made = stepped(definition, function)
        declare_limits(definition)
        return made

    def _definition_for(self, function: Callable[..., Any]) -> StepDefinition:
        target = function.func if isinstance(function, functools.partial) else function
        qualified = getattr(target, "__qualname__", type(target).__name__).rpartition("<locals>.")[2]
        name = self._definition.name if self._is_named else getattr(target, "__name__", qualified)
        return replace(self._definition, name=name, function=qualified)

    # -- as a context manager ----------------------------------------------------------------------------------------

    def __enter__(self) -> ActiveStep:
        """Enter the step. Entering again, nested or in parallel, makes a new active step each time.

        Raises:
            TypeError: the step has no name, or what a `with` block cannot have: a fallback, a detail made of arguments.
        """
        return self._enter(sys._getframe(1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Leave the step: the boundary decides what the caller sees."""
        return self._exit(error, sys._getframe(1))

    async def __aenter__(self) -> ActiveStep:
        """As `__enter__`."""
        return self._enter(sys._getframe(1))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """As `__exit__`."""
        return self._exit(error, sys._getframe(1))

    def _enter(self, caller: FrameType) -> ActiveStep:
        definition = self._definition
        if not self._is_named:
            raise TypeError('a step that is entered needs a name: with step("plan"): ...')
        if definition.fallback is not None:
            raise TypeError(
                f"step {definition.name!r} has a fallback, which a `with` block cannot deliver: "
                "decorate a function, or leave the fallback out"
            )
        if callable(definition.detail):
            raise TypeError(
                f"step {definition.name!r} has a detail that is made of arguments, which a `with` block does not have: "
                "give it a string"
            )
        run = StepRun(definition)
        key = id(run.active)
        try:
            self._entered[key] = _Entry(run, id(caller), get_ident())
            # A step that is entered by hand lives on when the object that entered it does not.
            run.active.entered_by = run
            return run.active  # noqa: TRY300 -- an interrupt here ends the step as well
        except BaseException:  # an interrupt: the block does not begin
            run.active.entered_by = None
            self._entered.pop(key, None)
            raise

    def _exit(self, error: BaseException | None, caller: FrameType) -> bool:
        run: StepRun | None = None
        try:
            run = self._run_to_leave(id(caller))
            if run is None:
                _logger.warning("step %r is left, and was not entered: nothing is done", self._definition.name)
                return False
            verdict = run.leave(error)
        except BaseException as interrupt:
            run = self._run_to_leave(id(caller)) if run is None else run
            if run is not None and not run.is_left:
                run.leave(interrupt)
            raise
        finally:
            if run is not None:
                self._entered.pop(id(run.active), None)
        if error is not None and verdict.error is error:
            return False
        verdict.settle(None, None)
        return error is not None

    def _run_to_leave(self, frame: int) -> StepRun | None:
        """Which of the active steps that this object has entered is left by a `with` of this frame.

        An object may be entered many times at once. A `with` leaves in the frame where it entered, which tells two
        generators apart, also where another task closes them; `__exit__` by hand leaves the innermost one.
        """
        entered, thread = self._entered.copy(), get_ident()
        innermost: StepRun | None = None
        here = current_step()
        while here is not None:
            entry = entered.get(id(here))
            if entry is not None:
                if entry.frame == frame:
                    return entry.run
                innermost = innermost or entry.run
            here = here.parent
        living = [entry for entry in entered.values() if not entry.run.is_left]
        of_thread = [entry for entry in living if entry.thread == thread]
        for entry in reversed(of_thread):
            if entry.frame == frame:
                return entry.run
        if innermost is not None:
            return innermost
        # Left by hand in another context than it was entered in, as an exit stack that another task closes.
        if of_thread:
            return of_thread[-1].run
        return living[0].run if len(living) == 1 else None


class _Entry(NamedTuple):
    """One entering of a step by `with`, and where that was: the ids of the frame and of the thread."""

    run: StepRun
    frame: int
    thread: int


def enter_step(function: str) -> AbstractContextManager[ActiveStep | None]:
    """Enter the step that is registered for `function`: yields its `ActiveStep`, or None where there is none.

    A fallback that was registered, or a detail that is made of arguments, is ignored with a WARNING.

    Raises:
        TypeError: `function` is not a string.
    """
    definition = registered_step(text("function", function))
    if definition is None:
        return _NOT_A_STEP
    if definition.fallback is not None:
        _logger.warning("step %r: fallback is ignored: a step that is entered cannot deliver one", definition.name)
        definition = replace(definition, fallback=None)
    if callable(definition.detail):
        _logger.warning("step %r: detail is ignored: a step that is entered has no arguments", definition.name)
        definition = replace(definition, detail=None)
    return cast("AbstractContextManager[ActiveStep | None]", Step.of(definition))
