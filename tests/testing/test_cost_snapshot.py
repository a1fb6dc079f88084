"""`assert steps == cost_snapshot`: what a test costs stands in a reviewed file, and what has changed is said."""

from __future__ import annotations

import json

import pytest

from otel_harn_steps.testing._cost_diff import differences
from tests.testing.plugged import Project, project_in

pytest_plugins = ["pytester"]
UPDATE = "--update-cost-snapshots"

TESTS = """
import os, pytest, agent

def test_plan(steps, cost_snapshot):
    agent.plan(int(os.environ.get("CALLS", 1)), int(os.environ.get("TOKENS", 1000)), os.environ.get("MODEL", "gpt-5"))
    assert steps == cost_snapshot

@pytest.mark.parametrize("calls", [1, 2, 3])
def test_calls(steps, cost_snapshot, calls):
    agent.plan(calls)
    assert cost_snapshot == steps
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = project_in(pytester, monkeypatch)
    made.write(test_agent=TESTS)
    return made


def differs(project: Project, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """What is said of a test whose agent does something else than before."""
    project.passes(UPDATE)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lines = [line[1:].strip() for line in project.fails("-k", "test_plan").splitlines() if line.startswith("E ")]
    assert lines.pop(0) == "assert test_plan is not what __cost_snapshots__/test_agent.json says it costs:"
    assert lines.pop() == f"To accept it: pytest test_agent.py::test_plan {UPDATE}"
    return lines


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_is_missing_fails_with_the_command_that_writes_it(project):
    output = project.fails()
    assert "there is no cost snapshot of test_calls[1] in test_agent.json" in output
    assert f"To write it: pytest 'test_agent.py::test_calls[1]' {UPDATE}" in output
    assert project.snapshots == {}


def test_a_second_run_passes_and_a_second_update_is_byte_identical(project):
    assert "test_agent.json: 4 cost snapshots written, 4 of them new" in project.passes(UPDATE)
    written = project.snapshots
    project.passes()
    assert "written" not in project.passes(UPDATE)
    assert project.snapshots == written


def test_a_snapshot_has_calls_tokens_models_and_exact_dollars_of_every_step_and_the_price_books_version(project):
    project.passes(UPDATE)
    content = json.loads(project.snapshots["test_agent.json"])
    assert content["version"] == 1
    assert list(content["tests"]) == ["test_calls[1]", "test_calls[2]", "test_calls[3]", "test_plan"]
    entry = content["tests"]["test_calls[2]"]
    assert entry["price_book"].startswith("genai-prices ")
    assert entry["steps"] == {
        "plan": {
            "runs": {"completed": 1},
            "models": {
                "openai gpt-5": {"calls": 2, "input_tokens": 2000, "output_tokens": 40, "cost_usd": "0.0029"},
            },
        },
        "plan/search": {
            "runs": {"completed": 1},
            "models": {
                "openai gpt-5-mini": {"calls": 1, "input_tokens": 100, "output_tokens": 5, "cost_usd": "0.000035"},
            },
        },
    }


def test_workers_of_xdist_write_the_same_file(project):
    pytest.importorskip("xdist")
    project.passes(UPDATE, "-n", "2")
    written = project.snapshots
    project.passes()
    project.passes(UPDATE)
    assert project.snapshots == written


def test_a_test_that_fails_changes_no_snapshot(project):
    project.write(
        test_agent="""
        import agent

        def test_fails(steps, cost_snapshot):
            agent.plan()
            assert steps == cost_snapshot
            raise AssertionError("for another reason")
        """
    )
    project.fails(UPDATE)
    assert project.snapshots == {}


def test_a_test_with_several_snapshots_gives_each_a_name(project):
    project.write(
        test_agent="""
        import agent
        from otel_harn_steps.testing import capture_steps

        def test_twice(cost_snapshot):
            with capture_steps() as first:
                agent.plan()
            with capture_steps() as second:
                agent.search()
            assert first == cost_snapshot("first")
            assert second == cost_snapshot("second")
        """
    )
    project.passes(UPDATE)
    project.passes()
    assert list(json.loads(project.snapshots["test_agent.json"])["tests"]) == [
        "test_twice / first",
        "test_twice / second",
    ]


# -- what has changed --------------------------------------------------------------------------------------------------


def test_one_more_call_is_named(project, monkeypatch):
    assert differs(project, monkeypatch, CALLS="2") == [
        "plan: 1 more call (1 -> 2)",
        "plan: input 1,000 -> 2,000 tokens",
        "plan: output 20 -> 40 tokens",
        "plan: $0.0015 -> $0.0029",
    ]


def test_a_longer_input_is_named(project, monkeypatch):
    assert differs(project, monkeypatch, TOKENS="2400") == [
        "plan: input 1,000 -> 2,400 tokens",
        "plan: $0.0015 -> $0.0032",
    ]


def test_another_model_is_named(project, monkeypatch):
    assert differs(project, monkeypatch, MODEL="gpt-5-mini") == [
        "plan: model gpt-5 -> gpt-5-mini",
        "plan: $0.0015 -> $0.0003",
    ]


def test_a_new_price_is_told_apart_from_new_behaviour(project):
    project.passes(UPDATE)
    (file,) = project.pytester.path.rglob("test_agent.json")
    content = json.loads(file.read_bytes())
    book = content["tests"]["test_plan"]["price_book"]
    content["tests"]["test_plan"]["price_book"] = "genai-prices 0.1.0"
    content["tests"]["test_plan"]["steps"]["plan"]["models"]["openai gpt-5"]["cost_usd"] = "0.0012"
    file.write_text(json.dumps(content))
    said = f"plan: same usage, new price book genai-prices 0.1.0 -> {book.split()[1]}: $0.0012 -> $0.0015"
    assert said in project.fails("-k", "test_plan")


def test_a_new_version_of_the_price_book_with_the_same_prices_is_no_difference(project):
    project.passes(UPDATE)
    (file,) = project.pytester.path.rglob("test_agent.json")
    file.write_bytes(file.read_bytes().replace(b"genai-prices ", b"genai-prices 0."))
    before = file.read_bytes()
    project.passes(UPDATE)
    assert file.read_bytes() == before


def spent(calls=1, cost="0.001", **tokens):
    return {"calls": calls, "input_tokens": 100, "output_tokens": 10, **tokens, "cost_usd": cost}


def of(steps, book="book 1"):
    return {"price_book": book, "steps": steps}


def plan(*, runs=None, failed=0, **models):
    names = {name.replace("__", " "): numbers for name, numbers in models.items()}
    return {"plan": {"runs": runs or {"completed": 1}, **({"failed": failed} if failed else {}), "models": names}}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (plan(a__m=spent()), plan(a__m=spent()), []),
        (plan(a__m=spent()), {}, ["plan: does not run any more; it was 1 call, $0.0010"]),
        ({}, plan(a__m=spent(cost=None)), ["plan: a new step: 1 call, ? (no price)"]),
        (plan(a__m=spent()), plan(b__m=spent()), ["plan: model a m -> b m"]),
        (
            plan(a__m=spent()),
            plan(a__m=spent(), a__n=spent(2, "0.5")),
            ["plan: model a n is new: 2 calls, $0.5000", "plan: $0.0010 -> $0.5010"],
        ),
        (
            plan(a__m=spent(), a__n=spent()),
            plan(a__m=spent()),
            ["plan: model a n is not called any more", "plan: $0.0020 -> $0.0010"],
        ),
        (
            plan(a__m=spent(), a__n=spent()),
            plan(a__m=spent(), a__n=spent(2)),
            ["plan: 1 more call of a n (1 -> 2)"],
        ),
        (plan(a__m=spent(3)), plan(a__m=spent(1)), ["plan: 2 fewer calls (3 -> 1)"]),
        (
            plan(a__m=spent(cache_read_tokens=90)),
            plan(a__m=spent(web_searches=1)),
            ["plan: cached input 90 -> 0 tokens", "plan: web searches 0 -> 1"],
        ),
        (plan(a__m=spent()), plan(a__m=spent(), runs={"completed": 2}), ["plan: 1 more run (1 -> 2)"]),
        (
            plan(a__m=spent()),
            plan(a__m=spent(), runs={"failed": 1}, failed=1),
            ["plan: runs 1 completed -> 1 failed", "plan: failed calls 0 -> 1"],
        ),
        (
            plan(a__m=spent()),
            plan(a__m=spent(cost=None, unpriced_calls=1)),
            ["plan: calls without a price 0 -> 1", "plan: $0.0010 -> ? (no price)"],
        ),
        (
            plan(a__m=spent(cost="0.00100001")),
            plan(a__m=spent(cost="0.00100002")),
            ["plan: same usage, other prices: $0.00100001 -> $0.00100002"],
        ),
        (
            plan(a__m=spent(estimated_cost_usd="0.5")),
            plan(a__m=spent(estimated_cost_usd="0.6")),
            ["plan: same usage, other prices: $0.0010 and ~$0.5000 estimated -> $0.0010 and ~$0.6000 estimated"],
        ),
    ],
)
def test_every_kind_of_change_is_a_sentence(before, now, said):
    assert differences(of(before), of(now)) == said


def test_changes_of_several_steps_end_with_what_they_come_to():
    before, now = plan(a__m=spent()) | {"x": plan(a__m=spent())["plan"]}, plan(a__m=spent(cost="0.003"))
    assert differences(of(before), of(now, "book 2"))[-1] == "in all: $0.0020 -> $0.0030"


# -- what is not used --------------------------------------------------------------------------------------------------


def test_a_snapshot_of_a_test_that_is_gone_is_named_and_removed_on_update(project):
    project.passes(UPDATE)
    project.write(test_agent=TESTS.replace("[1, 2, 3]", "[1]"))
    output = project.passes()
    assert (
        f"__cost_snapshots__/test_agent.json: no test uses test_calls[2], test_calls[3]; pytest {UPDATE} removes"
        in output
    )
    assert "removed what no test uses: test_calls[2], test_calls[3]" in project.passes(UPDATE)
    assert list(json.loads(project.snapshots["test_agent.json"])["tests"]) == ["test_calls[1]", "test_plan"]


def test_a_test_that_does_not_compare_any_more_has_no_snapshot(project):
    project.passes(UPDATE)
    project.write(test_agent="def test_plan():\n    pass\n")
    assert "no test uses test_calls[1], test_calls[2], test_calls[3], test_plan" in project.passes()
    project.passes(UPDATE)
    assert project.snapshots == {}


@pytest.mark.parametrize(
    "arguments", [["-k", "test_plan"], ["test_agent.py::test_plan"], ["--deselect", "test_agent.py::test_calls"]]
)
def test_tests_that_did_not_run_keep_their_snapshots(project, arguments):
    project.passes(UPDATE)
    before = project.snapshots
    assert "no test uses" not in project.passes(*arguments)
    project.passes(UPDATE, *arguments)
    assert project.snapshots == before


def test_the_file_of_tests_that_are_gone_is_removed(project):
    project.passes(UPDATE)
    (project.pytester.path / "test_agent.py").rename(project.pytester.path / "test_other.py")
    project.run(UPDATE)
    assert list(project.snapshots) == ["test_other.json"]


# -- damaged files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD\n{}", "a merge has left a conflict in it"),
        ("{", "restore it, or delete it to write it anew"),
        ("[]", "has no cost snapshots in it"),
        ('{"version": 1, "tests": {"test_plan": {"steps": {"plan": 1}}}}', "has no cost snapshots in it"),
        ('{"version": 2, "tests": {}}', "reads versions up to 1: upgrade it"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_alone_and_named(project, text, message):
    project.passes(UPDATE)
    (file,) = project.pytester.path.rglob("test_agent.json")
    file.write_text(text)
    assert message in project.fails(UPDATE)
    assert file.read_text() == text
