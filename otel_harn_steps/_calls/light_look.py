"""What nearly every event of a long stream needs: one look, and no more. Every instruction counts here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from otel_harn_steps._calls.budget_estimate import SampledOutput

_LOOKING: Final = guard("looking at a stream event")
_NEVER: Final = 1 << 62


def light_look(
    plain: Callable[[Any], bool],
    tail: deque[Any],
    sample: SampledOutput | None,
) -> Callable[[Any], Any]:
    """A function that takes in an event which changes nothing, and returns it. None: not such an event.

    Args:
        plain: knows such events.
        tail: the last events.
        sample: the events that a budget keeps.
    """
    append = tail.append
    until_next = _NEVER if sample is None else sample.until_next

    def look(event: Any) -> Any:
        nonlocal until_next
        try:
            if not plain(event):
                return None
        except Exception:  # the guard's to judge: to enter it at each event costs more than all the rest
            with _LOOKING:
                raise
            return None
        append(event)
        until_next -= 1
        if until_next < 1 and sample is not None:
            until_next = sample.keep(event)
        return event

    return look
