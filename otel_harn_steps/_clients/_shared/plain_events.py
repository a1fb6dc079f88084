"""A quick look at the events of a stream: most bring text and say nothing of what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_MOST_KINDS: Final = 64


def lacks(most: str, *others: str, hides: bool = False) -> Callable[[Any], bool]:
    """A function that says whether an event plainly has none of these fields, or None there.

    It says no where that takes a closer look: of objects that are neither pydantic models nor dicts.

    Args:
        most: the field that most events declare.
        others: the others.
        hides: whether a model is to look as if `most` had not been sent.
    """
    rest = frozenset(others)
    names = rest | {most}
    kinds: set[type] = set()  # of models that declare none of the rest

    def is_plain(event: Any) -> bool:
        try:
            extra, fields = event.__pydantic_extra__, event.__dict__
        except AttributeError:
            if type(event) is not dict:
                return False
            extra, fields = None, event
        if fields.get(most) is not None or (extra and not names.isdisjoint(extra)):
            return False
        if hides and event is not fields:
            event.__pydantic_fields_set__.discard(most)
        kind = type(event)
        if kind in kinds:
            return True
        if not rest.isdisjoint(fields):
            return all(fields.get(name) is None for name in rest)
        if kind is not dict and len(kinds) < _MOST_KINDS:
            kinds.add(kind)
        return True

    return is_plain
