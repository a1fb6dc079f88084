"""The tests of the example agent: it costs what its snapshot says, and what would cost something else is named."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.testing.plugged import ROOT, Project, project_in

pytest.importorskip("openai", reason="needs the group `demo`")
pytest.importorskip("anthropic", reason="needs the group `demo`")
pytest_plugins = ["pytester"]
UPDATE = "--update-cost-snapshots"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the examples."""
    made = project_in(pytester, monkeypatch)
    for each in (ROOT / "examples").iterdir():
        if each.is_dir():
            shutil.copytree(each, pytester.path / each.name)
        else:
            shutil.copy(each, pytester.path)
    return made


def change(project: Project, file: str, old: str, new: str) -> None:
    path = project.pytester.path / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def changes(project: Project) -> list[str]:
    """What is said of an issue of the newsletter that costs something else."""
    output = project.fails("-k", "test_an_issue")
    lines = [line[1:].strip() for line in output.splitlines() if line.startswith("E ")]
    return [line for line in lines if line.startswith(("newsletter", "in all"))]


def test_the_agent_costs_what_its_snapshot_says_and_a_second_update_is_byte_identical(project):
    committed = project.snapshots
    project.run().assert_outcomes(passed=2)
    project.run(UPDATE).assert_outcomes(passed=2)
    assert project.snapshots == committed
    shutil.rmtree(project.pytester.path / "__cost_snapshots__")
    project.run(UPDATE).assert_outcomes(passed=2)
    assert project.snapshots == committed


def test_one_more_call_is_named(project):
    change(project, "agent.py", "    embed(title)\n", "    embed(title)\n    embed(title)\n")
    assert changes(project) == [
        "newsletter/embed: 1 more run (1 -> 2)",
        "newsletter/embed: 1 more call (1 -> 2)",
        "newsletter/embed: input 4 -> 8 tokens",
        "newsletter/embed: $0.00000008 -> $0.00000016",
    ]


def test_a_longer_prompt_is_named(project):
    answer = "recorded/openai.chat-completions.chat_with_messages_attributes.json"
    change(project, answer, r"\"prompt_tokens\": 15", r"\"prompt_tokens\": 1215")  # as the provider would count it
    assert changes(project) == ["newsletter: input 15 -> 1,215 tokens", "newsletter: $0.0004 -> $0.0005"]


def test_another_model_is_named(project):
    answer = "recorded/openai.chat-completions.chat_with_messages_attributes.json"
    change(project, "agent.py", "gpt-5-nano", "gpt-5-mini")
    change(project, answer, "gpt-5-nano", "gpt-5-mini")  # as the provider would answer
    model = "gpt-5-nano-2025-08-07 (service_tier=default) -> gpt-5-mini-2025-08-07 (service_tier=default)"
    assert changes(project) == [f"newsletter: model {model}", "newsletter: $0.0004 -> $0.0020"]


def test_a_new_price_is_told_apart(project):
    snapshot = project.pytester.path / "__cost_snapshots__" / "test_agent.json"
    content = json.loads(snapshot.read_bytes())
    entry = content["tests"]["test_an_issue_costs_what_was_accepted"]
    entry["price_book"] = "genai-prices 0.1.0"
    (numbers,) = entry["steps"]["newsletter"]["models"].values()
    numbers["cost_usd"] = "0.0012"
    snapshot.write_text(json.dumps(content))
    (said,) = changes(project)
    assert said.startswith("newsletter: same usage, new price book genai-prices 0.1.0 -> ")
    assert said.endswith(": $0.0012 -> $0.0004")
