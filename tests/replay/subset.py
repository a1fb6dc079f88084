"""The representative part of a product: every case, every way and every other parameter once, in both modes.

Tests over recorded traffic multiply cases, ways to call and modes. `make test` runs of each such test what says
something new; `--full-product` runs all of it, and `--left-out` (`make test-traffic`, CI) what `make test` does not.
A test with the mark `left_out` is left out by `make test` as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pytest

from tests.replay.runs import Trip

OPTION = "--full-product"
LEFT_OUT = "--left-out"
_FEWEST = 16
"""A test with as many parameter sets, or fewer, runs with all of them."""


def representative(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """What is run of the items, and what is left out."""
    sizes: dict[str, int] = {}
    for item in items:
        sizes[_function_of(item)] = sizes.get(_function_of(item), 0) + 1
    seen: set[Hashable] = set()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        facets = {(_function_of(item), *facet) for facet in _facets_of(item)}
        says_new = sizes[_function_of(item)] <= _FEWEST or not facets or not facets <= seen
        is_kept = says_new and item.get_closest_marker("left_out") is None
        seen |= facets
        (kept if is_kept else left_out).append(item)
    return kept, left_out


def _function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _facets_of(item: pytest.Item) -> Iterator[tuple[Hashable, ...]]:
    """What an item's parameters say: nothing for an item without a `Trip`."""
    given: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    trips = [each for value in given.values() for each in _trips_in(value)]
    if not trips:
        return
    mode = given.get("clients", given.get("mode", ""))
    for trip in trips:
        yield "case", trip.case.id, mode
        yield "way", trip.case.client, trip.case.endpoint, trip.case.stream, trip.way.name, mode
        for name, value in given.items():
            if not _trips_in(value):
                yield name, trip.case.client, trip.case.stream, str(value), mode


def _trips_in(value: Any) -> list[Trip]:
    return [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, Trip)]
