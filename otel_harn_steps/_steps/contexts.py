"""Which step is current in a context, also where steps were left out of order.

A step is left where it was entered, as a rule, and what was current before is current again. It may also be left below
a step that lives on (`__enter__` and `__exit__` by hand, generators that are not steps), or in another task or thread
than it was entered in. Its context may then become current once more; a step that was left is looked through there, to
the nearest one that was not. A task that has kept the context of a step is another matter: what it spends there amends
the step.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, cast
from weakref import ref

from opentelemetry.context import Context, attach, create_key, get_current, set_value
from opentelemetry.trace import get_current_span, set_span_in_context

if TYPE_CHECKING:
    from contextvars import Token

    from otel_harn_steps._steps.active import ActiveStep

ACTIVE_KEY: Final = create_key("otel_harn_steps.active_step")
_left_here: Final[ContextVar[tuple[ref[ActiveStep], ...]]] = ContextVar("otel_harn_steps.left_here", default=())
"""The steps that were left here, and that something may make current again here."""


def context_of(active: ActiveStep, parent: Context) -> Context:
    """`parent` with `active` as its innermost step."""
    return Context({**parent, ACTIVE_KEY: active})


def leave_context(active: ActiveStep, entered: Context) -> None:
    """Make current what was current before `active`, as far as it lives.

    Args:
        active: the step, which is being left.
        entered: the context that it was current in last.
    """
    # The order matters: whatever interrupts this, a later look at the context finds a step that was left.
    active.is_left = True
    token, now = active.token, get_current()
    is_reset = token is not None and now.get(ACTIVE_KEY) is active and was_reset(token)
    if is_reset:
        active.token = None
    if not is_reset or now is not entered:
        _remember_left_here(active)  # whatever stands above it, or has kept it, may make it current again
    if not is_reset or (active.parent is not None and active.parent.is_left):
        now = get_current()
        nearest_living(cast("ActiveStep | None", now.get(ACTIVE_KEY)), now)


def nearest_living(found: ActiveStep | None, context: Context) -> ActiveStep | None:
    """The step that is current in place of `found`, which was left: itself where its context was kept by a task.

    Where `context` is the current one, that step is made current.
    """
    here, is_current = _left_here.get(), context is get_current()
    through: list[ActiveStep] = []
    step = found
    while step is not None and step.is_left and (ref(step) in here or (is_current and _was_entered_here(step))):
        through.append(step)
        step = step.parent
    if through and is_current:
        for each in through:
            _remember_left_here(each)
        attach(_context_without(through, step, context))
    return step


def _was_entered_here(active: ActiveStep) -> bool:
    """Whether a step that was left somewhere else was entered in this very task or thread.

    If so, what was current before it is current now.
    """
    token = active.token
    if token is None or not was_reset(token):
        return False
    active.token = None
    return True


def was_reset(token: Token[Context]) -> bool:
    """Make current what was before `token`, if that is of this task or thread. Returns whether it was."""
    # Not `detach`, which logs an error in any other context than the token's.
    try:
        token.var.reset(token)
    except (ValueError, RuntimeError):
        return False
    return True


def _remember_left_here(active: ActiveStep) -> None:
    known = _left_here.get()
    left = ref(active)
    if left not in known:
        _left_here.set((*(each for each in known if each() is not None), left))


def _context_without(through: list[ActiveStep], step: ActiveStep | None, context: Context) -> Context:
    """`context` with `step` in place of those that were left, and the span that was current before theirs."""
    outer = through[-1].outer
    spans = {id(each.span) for each in through}
    if all(key == ACTIVE_KEY or id(value) in spans or outer.get(key) is value for key, value in context.items()):
        return outer  # nothing was attached above them
    span = get_current_span(context)
    context = set_value(ACTIVE_KEY, step, context)
    for each in through:
        if span is each.span:
            span = get_current_span(each.outer)
            context = set_span_in_context(span, context)
    return context
