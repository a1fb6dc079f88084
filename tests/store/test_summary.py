"""What a run has cost: each call once, exactly, by step and model; estimates and unknowns apart."""

from __future__ import annotations

import json
import random

import pytest

from otel_harn_steps import Journal
from otel_harn_steps.store import JournalReader, RunSummary
from tests.store.rows import ended, sent, settled, started


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


@pytest.fixture
def summary(tmp_path):
    return lambda: RunSummary(JournalReader(tmp_path).poll())


def tree(summary):
    return [(depth, step.name, step.own.cost_picousd, total.cost_picousd) for depth, step, total in summary.tree()]


def test_own_spend_is_each_steps_and_totals_hold_the_steps_below(journal, summary):
    journal.call_settled(settled(1, "a", cost_picousd=1))
    journal.call_settled(settled(2, "a/b", cost_picousd=10))
    journal.call_settled(settled(3, "a/b/c", cost_picousd=100))
    journal.call_settled(settled(4, "a/d", cost_picousd=1000))
    journal.call_settled(settled(5, "", cost_picousd=10_000))
    assert tree(summary()) == [
        (0, "a", 1, 1111), (1, "d", 1000, 1000), (1, "b", 10, 110), (2, "c", 100, 100), (0, "(no step)", 10_000, 10_000),
    ]  # fmt: skip
    assert summary().total.cost_picousd == 11_111


def test_a_name_with_a_slash_is_one_step(journal, summary):
    journal.call_settled(settled(1, "serve", cost_picousd=1))
    journal.call_settled(settled(2, "serve/get /users", step="get /users", cost_picousd=2))
    assert tree(summary()) == [(0, "serve", 1, 3), (1, "get /users", 2, 2)]


def test_steps_without_calls_hold_the_tree_together(journal, summary):
    journal.step_started(started("a"))
    journal.step_started(started("a/b"))
    journal.call_settled(settled(1, "a/b", cost_picousd=5))
    assert tree(summary()) == [(0, "a", 0, 5), (1, "b", 5, 5)]


def test_a_thousand_nested_steps_have_a_tree(journal, summary):
    path = "/".join(["deep"] * 1500)
    for depth in (500, 1000, 1500):
        journal.call_settled(settled(depth, "/".join(["deep"] * depth), cost_picousd=1))
    journal.step_started(started(path))
    assert sum(step.own.cost_picousd for _, step, _ in summary().tree()) == 3


def test_sums_are_exact(journal, summary):
    for number in range(1000):
        journal.call_settled(settled(number, cost_picousd=10**20 + 1))
    assert summary().total.cost_picousd == 1000 * 10**20 + 1000


def test_spend_is_split_by_provider_and_model(journal, summary):
    journal.call_settled(settled(1, cost_picousd=1))
    journal.call_settled(settled(2, model="claude-5", provider="anthropic", cost_picousd=3))
    journal.call_settled(settled(3, model=None, requested_model=None, cost_picousd=2))
    split = [(*key, spend.cost_picousd) for key, spend in summary().models_by_cost()]
    assert split == [("anthropic", "claude-5", 3), ("openai", None, 2), ("openai", "gpt-5", 1)]


@pytest.mark.parametrize("outcome", ["failed", "refused", "void"])
def test_calls_that_nobody_is_billed_for_are_counted_by_outcome_alone(journal, summary, outcome):
    journal.call_sent(sent(1))
    journal.call_settled(settled(1, outcome=outcome, cost_picousd=None, input_tokens=None, output_tokens=None))
    assert (summary().total.calls, summary().total.open_calls) == (0, 0)
    assert summary().outcomes == {outcome: 1}
    assert summary().models_by_cost() == []


def test_unknowns_are_counted_and_never_zero(journal, summary):
    journal.call_settled(settled(1, cost_picousd=None))
    journal.call_settled(settled(2, cost_picousd=None, input_tokens=None, output_tokens=None, certainty="unknown"))
    total = summary().total
    assert (total.calls, total.unpriced_calls, total.unmetered_calls, total.unknown_calls) == (2, 1, 1, 2)
    assert total.cost_usd is None
    assert summary().certainties == {"measured": 1, "unknown": 1}


def test_estimates_are_in_no_measured_number(journal, summary):
    journal.call_settled(settled(1))
    journal.call_settled(
        settled(
            2, outcome="cut", certainty="estimated", cost_picousd=None, input_tokens=None, output_tokens=None,
            estimated_tokens=50, estimated_cost_picousd=7,
        )
    )  # fmt: skip
    total = summary().total
    assert (total.cost_picousd, total.input_tokens, total.output_tokens) == (10**9, 100, 20)
    assert (total.estimated_calls, total.estimated_tokens, total.estimated_cost_picousd) == (1, 50, 7)
    assert total.unknown_calls == 0


def test_what_is_open_is_named_by_process(journal, summary):
    journal.step_started(started("a"))
    journal.step_started(started("b"))
    journal.step_ended(ended("b"))
    journal.call_sent(sent(1, "a"))
    journal.call_sent(sent(2, "a"))
    journal.call_settled(settled(2, "a"))
    seen = summary()
    (process,) = seen.processes
    assert list(process.open_calls) == ["1"]
    assert [values["path"] for values in process.open_steps.values()] == ["a"]
    assert (seen.total.open_calls, seen.outcomes) == (1, {"open": 1, "answered": 1})
    assert (seen.steps["a"].runs, seen.steps["a"].open_runs, seen.steps["b"].statuses) == (1, 1, {"completed": 1})


def test_files_that_continue_one_another_are_of_one_process(tmp_path, summary):
    journal = Journal(tmp_path, max_bytes=1000)
    for number in range(20):
        journal.call_sent(sent(number))
    (process,) = summary().processes
    assert len(process.open_calls) == 20


def test_amendments_are_no_runs(journal, summary):
    journal.step_started(started())
    journal.step_ended(ended())
    journal.step_ended(ended(amends="id of plan", breach="max_usd"))
    step = summary().steps["plan"]
    assert (step.runs, step.amendments, step.breaches) == (1, 1, 1)


def test_a_call_in_two_journals_is_counted_once(tmp_path, journal, summary):
    other = Journal(tmp_path)
    for each in (journal, other):
        each.call_sent(sent(1))
        each.call_settled(settled(1))
        each.step_started(started())
        each.step_ended(ended())
    assert (summary().total.calls, summary().steps["plan"].runs) == (1, 1)


def test_the_order_of_lines_makes_no_difference(tmp_path, journal, summary):
    for number in range(20):
        path = ("a", "a/b", "")[number % 3]
        journal.call_sent(sent(number, path))
        if number % 4:
            journal.call_settled(settled(number, path, cost_picousd=number))
    journal.step_started(started("a"))
    journal.step_ended(ended("a"))
    expected = summary()
    events = list(JournalReader(tmp_path).poll())
    for seed in range(20):
        random.Random(seed).shuffle(events)
        again = RunSummary(events)
        assert tree(again) == tree(expected)
        assert again.total == expected.total
        assert again.outcomes == expected.outcomes
        assert set(again.processes[0].open_calls) == set(expected.processes[0].open_calls)


def test_equal_notes_are_counted(journal, summary):
    for host in ("a", "b", "a"):
        journal.note("unseen_call", host=host)
    journal.call_sent(sent(1))
    notes = summary().to_dict()["notes"]
    assert notes == [
        {"event": "unseen_call", "count": 2, "host": "a"},
        {"event": "unseen_call", "count": 1, "host": "b"},
    ]


def test_the_summary_is_plain_json(journal, summary):
    journal.step_started(started("a"))
    journal.call_sent(sent(1, "a"))
    journal.call_settled(settled(2, "a"))
    written = json.loads(json.dumps(summary().to_dict(), allow_nan=False))
    assert written["total"]["cost_usd"] == 0.001
    assert [step["path"] for step in written["steps"]] == ["a"]
    assert [call["call_id"] for call in written["processes"][0]["open_calls"]] == ["1"]
    assert written["models"][0]["model"] == "gpt-5"
