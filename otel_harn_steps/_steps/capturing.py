"""Captures: stretches of a program, such as a test, that want to know what is spent in them, and may bound it.

A capture is an account above the steps that are entered in it. It is found by the context, as a step is. Work whose
context has none (a bare thread, an event loop that was started before) belongs to the capture that is open, if there is
only one, or one with others in it.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from threading import RLock
from typing import TYPE_CHECKING, Final, cast

from opentelemetry.context import Context, attach, create_key, get_value, set_value

from otel_harn_steps._process import in_forked_child
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.budget import Budget
from otel_harn_steps._steps.contexts import was_reset
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.reservation import Held, Projection

if TYPE_CHECKING:
    from contextvars import Token

_CAPTURE_KEY: Final = create_key("otel_harn_steps.capture")
_logger = logging.getLogger("otel_harn_steps")
_changing = RLock()
_open: tuple[Capture, ...] = ()
"""Those that are open, the oldest first. Replaced whole, and empty in production."""
_warned_of: tuple[Capture, ...] = ()


class Capture(Account):
    """What calls have spent while the capture is open.

    `llm_calls`, `cost_usd` and the like are of the calls that no step claims, the `total_*` properties of all calls.

    Attributes:
        outer: the capture around this one.
        is_open: whether it is open.
        refusal: the first breach of a call that its budget did not let out, also where others in flight held the room.
    """

    kind = "test"

    __slots__ = ("_token", "is_open", "outer", "refusal")

    def __init__(self, name: str, budget: Budget, above: Account | None) -> None:
        super().__init__(StepDefinition(name, name, scope="tree", budget=budget), above)
        self.outer = capture_in()
        self.is_open = False
        self.refusal: StepBudgetExceeded | None = None
        self._token: Token[Context] | None = None

    def open(self) -> None:
        """Begin: what is done in this context from now on is captured."""
        global _open  # noqa: PLW0603 -- the one place that holds them
        with _changing:
            self.is_open = True
            _open = (*_open, self)
        self._token = attach(set_value(_CAPTURE_KEY, self))

    def close(self) -> None:
        """End. It may be closed in another context than it was opened in: whatever has kept it looks through it."""
        global _open  # noqa: PLW0603 -- as above
        token, self._token = self._token, None
        if token is not None:
            was_reset(token)
        with _changing:
            self.is_open = False
            _open = tuple(each for each in _open if each is not self)

    def _no_room(self, limit: str, asked: Projection, held: Held) -> StepBudgetExceeded:
        error = super()._no_room(limit, asked, held)
        self.refusal = self.refusal or error
        return error

    def with_outer(self) -> tuple[Capture, ...]:
        """This capture, and those around it."""
        return (self,) if self.outer is None else (self, *self.outer.with_outer())


def current_capture(context: Context | None = None) -> Capture | None:
    """The innermost capture that is open here, or in `context`."""
    return (capture_in(context) or _the_only_one()) if _open else None


def capture_in(context: Context | None = None) -> Capture | None:
    """The innermost capture that is open and that the context here has, or `context`."""
    found = cast("Capture | None", get_value(_CAPTURE_KEY, context))
    while found is not None and not found.is_open:
        found = found.outer
    return found


def open_captures() -> tuple[Capture, ...]:
    """Those that are open in this process."""
    return _open


def _the_only_one() -> Capture | None:
    """The innermost of the captures that are open, where each is in the one before it."""
    global _warned_of  # noqa: PLW0603 -- as above
    captures = _open
    if all(inner.outer is outer for outer, inner in pairwise(captures)):
        return captures[-1] if captures else None
    if _warned_of is not captures:
        _warned_of = captures
        _warn(len(captures))
    return None


def _warn(captures: int) -> None:
    _logger.warning(
        "work in a context of no capture belongs to none of the %d that are open: carry the context into threads with "
        "instrument(threads=True), or run the thread's work in contextvars.copy_context().run",
        captures,
    )


@in_forked_child
def _forked() -> None:
    global _changing  # noqa: PLW0603 -- another thread may have held it
    _changing = RLock()
