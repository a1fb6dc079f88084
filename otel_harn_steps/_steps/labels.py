"""Labels: what the steps and calls below are about, such as a tenant or a feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, cast

from opentelemetry.context import attach, create_key, detach, get_value, set_value

_LABELS_KEY: Final = create_key("otel_harn_steps.labels")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@contextmanager
def labels(**values: str) -> Iterator[None]:
    """Put labels on every step that is entered and every call that is made in this block: `labels(tenant="acme")`.

    They are on the rows of calls and on records. Labels of an inner block come on top of those around it.

    Raises:
        TypeError: a value is not a string.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"label {name} must be a string, not {value!r}")
    token = attach(set_value(_LABELS_KEY, MappingProxyType({**current_labels(), **values})))
    try:
        yield
    finally:
        detach(token)


def current_labels() -> Mapping[str, str]:
    """The labels in force here."""
    return cast("Mapping[str, str] | None", get_value(_LABELS_KEY)) or _NONE
