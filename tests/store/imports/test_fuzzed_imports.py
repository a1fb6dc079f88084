"""Whatever stands in a file: what can be read is imported, the rest is named, and every line that is written is right."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_harn_steps.store import JournalReader, RunSummary, Store
from otel_harn_steps.store.imports import import_files
from tests.store.imports.sources import write_lines
from tests.store.rows import ended, settled

FILES = Path(__file__).parent / "files"
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("2026-05-01T10:00:00Z")
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def lines_of(kind: str) -> list[dict[str, Any]]:
    if kind == "calls":
        return [settled("1", details={"web_searches": 1}, terms={"service_tier": "flex"}).to_dict()]
    if kind == "records":
        spend = {"provider": "openai", "model": "m", "llm_calls": 2, "input_tokens": 10, "cost_usd": 0.5}
        return [
            ended(llm_calls=2, input_tokens=10, cost_usd=0.5).to_dict() | {"by_model": [spend]},
            ended("late", amends="x").to_dict(),
        ]
    files = sorted((FILES / kind).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value within one."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*at, key)
        yield from places(value[key], (*at, key))  # type: ignore[index]  # it has keys


@pytest.mark.parametrize("kind", ["records", "calls", "otlp", "claude-code", "codex"])
@settings(max_examples=60, derandomize=True)
@given(data=st.data())
def test_any_value_at_any_place(kind: str, data: st.DataObject) -> None:
    lines = copy.deepcopy(lines_of(kind))
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.sampled_from(lines))
        found = list(places(line))
        if not found:
            continue
        *path, last = data.draw(st.sampled_from(found))
        inner: Any = line
        for key in path:
            inner = inner[key]
        if data.draw(st.booleans()):
            inner[last] = data.draw(VALUES)
        else:
            del inner[last]
    folder = Path(tempfile.mkdtemp())
    try:
        file = write_lines(folder / "4de9291e.jsonl", lines)

        try:
            import_files(kind, [file], folder / "records")
        except ValueError as error:
            assert str(file) in str(error)  # noqa: PT017 -- it is nothing of the kind any more
            return

        reader = JournalReader(folder / "records")
        summary = RunSummary(reader.poll())
        assert reader.damaged == []
        (folder / "records").mkdir(exist_ok=True)
        with Store(folder / "records") as store:
            store.update()
            assert store.damaged == []
            assert store.report().total.to_dict() == summary.total.to_dict()
        assert import_files(kind, [file], folder / "records").changed == 0
    finally:
        shutil.rmtree(folder)
