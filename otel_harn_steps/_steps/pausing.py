"""Steps whose error boundary is "pause": where a limit is crossed, somebody decides whether they may spend more.

Who decides is the app's own function (`on_budget_pause`), else whoever answers in a folder (`pause_folder`), else
whoever sits at the terminal of `otel-harn-steps run`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import isawaitable
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_harn_steps import _settings
from otel_harn_steps._guard import guard
from otel_harn_steps._process import PAUSE, TERMINAL
from otel_harn_steps._steps.event_loops import is_in_a_loop, tell
from otel_harn_steps._steps.hooks import pause_hook
from otel_harn_steps._steps.steering import DECIDING, Asker, Steered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_harn_steps._steps.errors import StepBudgetExceeded

_logger = logging.getLogger("otel_harn_steps")
_ASKING: Final = guard("asking whether a step may spend more", ours=False, then="the step is stopped")
_RAISING: Final = guard("raising a budget as it was decided", ours=False, then="the step is stopped")
_LOOK_AGAIN_S: Final = 1.0


class _Decider(NamedTuple):
    """Who decides.

    Attributes:
        name: "hook", "folder", "terminal", or "nobody".
        ask: asked with the account and the error; gives the limits that are raised, or nothing. May be a coroutine
            function.
        blocks: whether it waits for a person without leaving the thread to others.
    """

    name: str
    ask: Callable[[Any, StepBudgetExceeded], Any]
    blocks: bool


def goes_on(error: StepBudgetExceeded) -> bool:
    """Whether the step whose budget it is may spend more. Who decides about it is asked, once, and waited for."""
    account, asker = _pausing(error), Asker()
    while account is not None and not account.has_raised(error):
        if _begins(account, error, asker):
            decider, answer, is_answered = _decider_of(account), None, False
            try:
                with _ASKING:
                    answer = _awaited(_asked(decider, account, error))
                is_answered = True
            finally:
                _end(account, error, decider, answer, is_answered=is_answered)
        account = _pausing(error)
    return _is_raised(error)


async def goes_on_async(error: StepBudgetExceeded) -> bool:
    """As `goes_on`, without holding up an event loop of asyncio. In any other, a call does not wait for who asks."""
    account, asker = _pausing(error), Asker()
    while account is not None and not account.has_raised(error):
        if is_in_a_loop():
            begins = await _begins_async(account, error, asker)
        elif not account.begins_pause(error.limit, asker):
            return False
        else:
            begins = True
        if begins:
            decider, answer, is_answered = _decider_of(account), None, False
            try:
                with _ASKING:
                    answer = await _asked_async(decider, account, error)
                is_answered = True
            finally:
                _end(account, error, decider, answer, is_answered=is_answered)
        account = _pausing(error)
    return _is_raised(error)


def _pausing(error: StepBudgetExceeded) -> Steered | None:
    account = error.owner
    return account if isinstance(account, Steered) and account.is_pausing else None


def _is_raised(error: StepBudgetExceeded) -> bool:
    return isinstance(error.owner, Steered) and error.owner.is_of_pause and error.owner.has_raised(error)


def _begins(account: Steered, error: StepBudgetExceeded, asker: Asker) -> bool:
    """Whether the caller is to ask. If not, it has waited for another who has asked."""
    changed = Event()
    forget = account.tree.when_changed(changed.set)
    try:
        while not account.begins_pause(error.limit, asker):
            changed.wait(_LOOK_AGAIN_S)
            changed.clear()
            if account.has_raised(error) or not account.is_pausing:
                return False
    finally:
        forget()
    return True


async def _begins_async(account: Steered, error: StepBudgetExceeded, asker: Asker) -> bool:
    import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

    changed = asyncio.Event()
    forget = account.tree.when_changed(partial(tell, asyncio.get_running_loop(), changed.set))
    try:
        while not account.begins_pause(error.limit, asker):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await changed.wait()
            changed.clear()
            if account.has_raised(error) or not account.is_pausing:
                return False
    finally:
        forget()
    return True


@contextmanager
def _deciding() -> Iterator[None]:
    """Refuse the decider's own calls to models, which would wait for its decision."""
    token = DECIDING.set(True)
    try:
        yield
    finally:
        DECIDING.reset(token)


def _asked(decider: _Decider, account: Steered, error: StepBudgetExceeded) -> Any:
    with _deciding():
        return decider.ask(account, error)


async def _asked_async(decider: _Decider, account: Steered, error: StepBudgetExceeded) -> Any:
    with _deciding():
        if decider.blocks and is_in_a_loop():
            import asyncio  # noqa: PLC0415 -- loaded already, where one of its loops runs

            return await asyncio.to_thread(decider.ask, account, error)
        answer = decider.ask(account, error)
        return await answer if isawaitable(answer) else answer


def _awaited(answer: Any) -> Any:
    """The answer of a coroutine function, in a synchronous call."""
    if not isawaitable(answer):
        return answer
    import asyncio  # noqa: PLC0415 -- only where a coroutine is to be run
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- as above
    from contextvars import copy_context  # noqa: PLC0415 -- as above

    async def wait(awaitable: Awaitable[Any]) -> Any:
        with _deciding():
            return await awaitable

    if not is_in_a_loop():
        return asyncio.run(wait(answer))
    # The loop of this thread stands still until the call returns, as it does for every synchronous call.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, wait(answer)).result()


def _decider_of(account: Steered) -> _Decider:
    hook = pause_hook(account.definition.name)
    if hook is not None:
        return _Decider("hook", hook, blocks=False)
    folder = _settings.in_force.pause_folder
    if folder is not None:
        from otel_harn_steps._steps.deciders import ask_in_folder  # noqa: PLC0415 -- only where somebody is asked there

        return _Decider("folder", lambda account, error: ask_in_folder(folder, account, error), blocks=True)
    if os.environ.get(PAUSE) == TERMINAL:
        from otel_harn_steps._steps.deciders import ask_in_terminal  # noqa: PLC0415 -- as above

        return _Decider(TERMINAL, ask_in_terminal, blocks=True)
    return _Decider("nobody", _nobody, blocks=False)


def _nobody(account: Steered, _: StepBudgetExceeded) -> None:
    _logger.warning(
        "step %r has error_boundary='pause', and there is nobody to decide, so that it is stopped: register a function "
        "with on_budget_pause, name a pause_folder, or start the program by otel-harn-steps run in a terminal",
        account.definition.name,
    )


def _end(account: Steered, error: StepBudgetExceeded, decider: _Decider, answer: Any, *, is_answered: bool) -> None:
    """Do what was decided. Without an answer, because of an interrupt, the next call asks again."""
    if not is_answered:
        account.end_pause(None)
        return
    account.decided(decider.name)
    limits: Mapping[str, Any] = answer or {}
    with _RAISING:
        if limits:
            account.raise_budget(**limits)
    account.end_pause(None if account.has_raised(error) else error.limit)
