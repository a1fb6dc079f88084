"""Whatever stands in the configuration file: what is wrong is said, and nothing raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("pydantic")

from otel_harn_steps.config._loading import load

KEYS = (
    "strict", "steps", "frameworks", "clients", "prices", "models", "unpriced", "unmetered", "call_spans", "stream_usage",
    "metrics", "redact_errors", "threads", "unseen_calls", "sinks", "records", "keep_days", "json_lines", "target", "name", "allowed_values",
    "model", "budget", "max_tokens", "max_usd", "max_calls", "loop", "preflight", "cap_output", "error_boundary",
    "fallback", "scope", "agent", "metadata", "input_mtok",
)  # fmt: skip
WORDS = ("auto", "openai", "json:loads", "json:JSONDecoder.decode", "continue", "tree", "own", "estimate", "refuse", "")
BUILDS = settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = st.sampled_from(KEYS) | st.text(max_size=5)
TEXTS = st.sampled_from(WORDS) | st.text(max_size=8)
LEAVES = st.one_of(st.booleans(), st.integers(), st.floats(), TEXTS, st.dates(), st.times(), st.datetimes())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{as_key(name)} = {as_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return value.isoformat()


def as_key(name: str) -> str:
    return as_toml(name)


def assert_says_what_is_wrong(path: Path) -> None:
    loaded = load(path)
    for problem in loaded.problems:
        text = str(problem)
        assert text.startswith(path.name)
        assert "Traceback" not in text
        assert "validation error" not in text


@BUILDS
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_values_at_any_place(tmp_path, document):
    path = tmp_path / "harn-steps.toml"
    lines = [f"{as_key(name)} = {as_toml(value)}" for name, value in document.items()]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    assert_says_what_is_wrong(path)


@BUILDS
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=3))
def test_any_values_in_steps(tmp_path, steps):
    path = tmp_path / "harn-steps.toml"
    lines = [
        line
        for each in steps
        for line in ("[[steps]]", *(f"{as_key(name)} = {as_toml(value)}" for name, value in each.items()))
    ]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    assert_says_what_is_wrong(path)


@BUILDS
@given(st.binary(max_size=60) | st.text(alphabet='[]="{}.,\n# abc1', max_size=60).map(str.encode))
@example(b"\xff")
@example(b"a = " + b"[" * 2000)
@example(b"steps = " + b"[" * 300 + b"]" * 300)
@example(b"[tool.otel-harn-steps]\nsteps = " + b"[" * 300 + b"]" * 300)
@pytest.mark.parametrize("name", ["harn-steps.toml", "pyproject.toml"])
def test_any_bytes(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert_says_what_is_wrong(path)
