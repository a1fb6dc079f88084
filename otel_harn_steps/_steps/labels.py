"""Labels: what the steps and calls below are about, such as a tenant or a feature.

They come from `labels(...)`, and from the keys of W3C baggage that `baggage_labels` allows. What our context holds is
never put into baggage; and what the allowed keys hold is taken out of the baggage that a call to a model is made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value

_LABELS_KEY: Final = create_key("otel_harn_steps.labels")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_allowed: tuple[str, ...] = ()
_PLAIN: Final = (str, int, float)
"""What baggage may hold that is a label: on the wire, all of it is text."""


@contextmanager
def labels(**values: str) -> Iterator[None]:
    """Put labels on every step that is entered and every call that is made in this block: `labels(tenant="acme")`.

    They are on the rows of calls, on records and on spans, and are never sent to a provider. Labels of an inner block
    come on top of those around it, and of those from baggage (`instrument(baggage_labels=...)`).

    Raises:
        TypeError: a value is not a string.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"label {name} must be a string, not {value!r}")
    given: Any = get_value(_LABELS_KEY) or _NONE
    token = attach(set_value(_LABELS_KEY, MappingProxyType({**given, **values})))
    try:
        yield
    finally:
        detach(token)


def current_labels(context: Context | None = None) -> Mapping[str, str]:
    """The labels in force here, or in `context`."""
    context = get_current() if context is None else context
    given: Any = context.get(_LABELS_KEY, _NONE)  # what `labels` has put there
    carried = _carried(context) if _allowed else None
    return MappingProxyType({**carried, **given}) if carried else given


def _carried(context: Context) -> dict[str, str]:
    """The labels that baggage carries there."""
    from opentelemetry.baggage import get_all  # noqa: PLC0415 -- only where keys are allowed

    carried = get_all(context)
    return {key: str(carried[key]) for key in _allowed if isinstance(carried.get(key), _PLAIN)} if carried else {}


# -- baggage ----------------------------------------------------------------------------------------------------------


def allow_baggage(keys: tuple[str, ...]) -> None:
    """Let these keys of baggage be labels, and no others."""
    global _allowed  # noqa: PLW0603 -- read at every call, so as cheap as can be
    _allowed = keys


def without_baggage(context: Context) -> Context:
    """`context` without the allowed keys in its baggage, which would be sent to a provider. Their labels stay."""
    if not _allowed:
        return context
    from opentelemetry.baggage import get_all, remove_baggage  # noqa: PLC0415 -- as above

    found = [key for key in _allowed if key in get_all(context)]
    if not found:
        return context
    context = set_value(_LABELS_KEY, current_labels(context), context)
    for key in found:
        context = remove_baggage(key, context)
    return context


def carries_baggage() -> bool:
    """Whether there is such baggage here."""
    here = get_current()
    return without_baggage(here) is not here


@contextmanager
def keeping_baggage() -> Iterator[None]:
    """Be in a context without the allowed keys in its baggage: for a call to a model that no meter is opened for."""
    here = get_current()
    there = without_baggage(here)
    if there is here:
        yield
        return
    token = attach(there)
    try:
        yield
    finally:
        detach(token)
