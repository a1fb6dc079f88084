"""Filters as an address says them: `since=7d&step=plan&label=revision=4f1c2d9`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from otel_harn_steps.store._moments import read_time
from otel_harn_steps.store._views import Filter


class Query(Protocol):
    """The part of an address after `?`."""

    def getlist(self, key: str) -> Sequence[str]:
        """All values of a name."""


def filter_of(query: Query) -> Filter:
    """The filter that an address asks for.

    Args:
        query: `since` and `until` as on the command line; `since=all` is no beginning. A label is "NAME=VALUE". All
            others are patterns.

    Raises:
        ValueError: a value cannot be read; the message names it.
    """
    return Filter(
        since=_moment("since", query),
        until=_moment("until", query),
        steps=tuple(query.getlist("step")),
        agents=tuple(query.getlist("agent")),
        models=tuple(query.getlist("model")),
        providers=tuple(query.getlist("provider")),
        programs=tuple(query.getlist("program")),
        labels=dict(_label(each) for each in query.getlist("label")),
        run=next(iter(query.getlist("run")), None),
    )


def _moment(name: str, query: Query) -> int | None:
    text = next(iter(query.getlist(name)), "all")
    return None if text in ("", "all") else read_time(name, text)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"label must be NAME=VALUE, not {text!r}")
    return name, value
