"""Whatever stands in a journal: what can be read is read, the rest is counted, and nothing raises."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_harn_steps import Journal
from otel_harn_steps.store import JournalReader, JournalVersionError, RunSummary
from tests.store.rows import ended, sent, settled, started

BUILDS = settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_folders = count()


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A line of each kind, as they are written."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    journal.step_started(started())
    journal.call_sent(sent(1))
    journal.call_settled(settled(1))
    journal.step_ended(ended(breach="max_usd"))
    journal.note("unseen_call", host="h")
    (path,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(folder: Path, content: bytes) -> tuple[JournalReader, RunSummary]:
    folder = folder / str(next(_folders))
    folder.mkdir()
    (folder / "0-1-a.jsonl").write_bytes(content)
    reader, summary = JournalReader(folder), RunSummary()
    try:
        for event in reader.poll():
            summary.add(event)
    except JournalVersionError:
        pass
    json.dumps(summary.to_dict())
    list(summary.tree())
    assert summary.total.input_tokens >= 0
    return reader, summary


@BUILDS
@given(st.data())
def test_any_value_at_any_place(tmp_path: Path, lines: list[dict[str, Any]], data: st.DataObject) -> None:
    written = []
    for _ in range(data.draw(st.integers(1, 6))):
        line = dict(data.draw(st.sampled_from(lines)))
        for _ in range(data.draw(st.integers(0, 3))):
            name = data.draw(st.sampled_from(sorted(line)) | st.text(max_size=4))
            line[name] = data.draw(VALUES)
        written.append(json.dumps(line).encode())
    read(tmp_path, b"\n".join(written) + b"\n")


@BUILDS
@given(st.data())
def test_any_bytes_between_lines(tmp_path: Path, lines: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.integers(at, len(whole)))
    read(tmp_path, whole[:at] + data.draw(st.binary(max_size=20)) + whole[until:])


@BUILDS
@given(st.binary(max_size=80))
@example(b"[" * 100_000 + b"\n")
@example(b'{"event": ' + b"[" * 100_000 + b"\n")
@example(b'{"event": "call_settled", "cost_picousd": ' + b"9" * 5_000 + b"}\n")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    reader, _ = read(tmp_path, content + b"\n" + b'{"event": "note"}\n')
    assert reader.damaged_lines <= content.count(b"\n") + 1
