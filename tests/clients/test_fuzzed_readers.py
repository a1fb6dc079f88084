"""Whatever is sent in the place of an answer: no reader raises, and none counts nonsense."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_harn_steps._calls.client import ClientAdapter, Request
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._cost.price_book import price_of
from tests.replay.cases import all_cases
from tests.replay.plausible import assert_plausible

FAMILIES = {type(adapter).__name__: adapter for adapter in ADAPTERS}
PROVIDERS = ("openai", "anthropic", "openrouter", "perplexity", "x_ai", "aws.bedrock", "gcp.gemini", "cohere", "ollama")
OPERATIONS = ("chat", "embeddings", "rerank", "image_generation", "batch", "unknown")


def names_in(payload: Any) -> Iterator[str]:
    if isinstance(payload, Mapping):
        for name, inner in payload.items():
            yield name
            yield from names_in(inner)
    elif isinstance(payload, list):
        for each in payload:
            yield from names_in(each)


def recorded_names() -> list[str]:
    """The names of all fields that providers have sent."""
    found = set()
    for each in all_cases().values():
        for line in each.body.decode("utf-8", "replace").splitlines():
            text = line.removeprefix("data:").strip()
            if text.startswith("{"):
                try:
                    found |= set(names_in(json.loads(text)))
                except ValueError:
                    continue
    return sorted(name for name in found if not name.isdigit() and len(name) < 40)


NAMES = recorded_names()


def values() -> st.SearchStrategy[Any]:
    """JSON of the names that providers use, in places where they do not."""
    names = st.sampled_from(NAMES) | st.text(max_size=4)
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5000),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["chat.completion", "message_start", "web_search_call", "batch", "thread.run", "12", "text"]),
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5), max_leaves=25
    )


VALUES = values()


def as_objects(value: Any) -> Any:
    """The same as objects with attributes, as clients have them."""
    if isinstance(value, Mapping):
        return SimpleNamespace(**{name: as_objects(inner) for name, inner in value.items()})
    return [as_objects(each) for each in value] if isinstance(value, list) else value


def as_aws_event(value: Any) -> Any:
    """An event of AWS's protocol."""
    text = json.dumps(value).encode()
    chunk = json.dumps({"bytes": base64.b64encode(text).decode()}).encode()
    return SimpleNamespace(payload=chunk, headers={":event-type": "chunk"})


def as_aws_metadata(value: Any) -> Any:
    return SimpleNamespace(payload=json.dumps(value).encode(), headers={":event-type": "metadata"})


def as_body(value: Any) -> Any:
    return SimpleNamespace(body=json.dumps(value).encode(), data=json.dumps(value))


SHAPES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "_Bedrock": (as_aws_event, as_aws_metadata),
    "_LM15": (as_body,),
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=150, derandomize=True)
@given(st.data())
def test_no_reader_raises_or_counts_nonsense(family: str, data: st.DataObject) -> None:
    adapter: ClientAdapter = FAMILIES[family]
    shape = data.draw(st.sampled_from(SHAPES.get(family, (lambda value: value, as_objects))))
    request = Request(data.draw(st.sampled_from(OPERATIONS)), data.draw(st.sampled_from(PROVIDERS)), "gpt-4o")
    events = [shape(each) for each in data.draw(st.lists(VALUES, min_size=1, max_size=4))]
    readings = []
    if family != "_Bedrock":
        readings.append(adapter.parse(request, events[0]))
    state = None
    for event in events:
        state = adapter.fold(state, event)
        adapter.restore(event)
    if state is not None:
        readings.append(adapter.parse(request, state))
    for reading in readings:
        assert_plausible(reading)
        reported = None if reading.reported_usd is None else to_picousd(reading.reported_usd)
        assert reported is None or reported >= 0
        for part in reading.parts:
            cost, _ = price_of(request.provider, part.model or reading.model or "gpt-4o", part.usage, part.terms, 1e9)
            assert cost is None or cost >= 0
