"""Budgets replayed over the ledger, and budgets that are suggested: what they would have stopped, and what that saves."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic")

from otel_harn_steps import StepBudgetExceeded, drain_completed_steps, record_llm_usage, step
from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.config._loading import load
from otel_harn_steps.store import Spend, StepRun
from otel_harn_steps.store._history import History
from otel_harn_steps.store._meter import Rule
from otel_harn_steps.store._replay import replay
from otel_harn_steps.store._rules import rules_of, targets_of
from otel_harn_steps.store._suggest import Wish, percentile, snippet, suggest, suggest_for_runs
from tests.store.rows import settled

SECOND = 10**9


def call(number, step_id="1", path="plan", *, usd=1.0, at=None, takes=1, **fields):
    """A call that is sent at so many seconds, and takes so many."""
    return settled(
        number, path, step_id=step_id, sent_at=(number if at is None else at) * SECOND, duration_ns=takes * SECOND,
        **({"cost_picousd": int(usd * 10**12)} | fields),
    )  # fmt: skip


def entered(step_id, path="plan", **fields):
    known = {
        "step_id": step_id, "run_id": "0123456789abcdef", "parent_id": None, "name": path.rpartition("/")[2], "path": path, "agent": None, "labels": {},
        "started_at": 0, "ended_at": None, "status": "completed", "breach": None, "error": None, "limits": {}, "own": Spend(), "total": Spend(),
    }  # fmt: skip
    return StepRun(**(known | fields))


def rule(name="plan", scope="step", **limits):
    return Rule(name=name, scope=scope, limits=limits)


def tried(rows, *rules, step_runs=(), **options):
    return replay(History(rows, step_runs), list(rules), **options)


def one(rows, *rules, **options):
    found = tried(rows, *rules, **options)
    (stop,) = found.stops
    return stop.limit, stop.calls, stop.saved_calls, stop.saved_picousd // 10**12


def test_the_call_that_crosses_is_paid_and_the_rest_of_the_step_is_saved():
    assert one([call(n) for n in range(5)], rule(max_usd=1.5)) == ("max_usd", 2, 3, 3)


def test_reaching_a_limit_exactly_is_no_breach():
    assert tried([call(n) for n in range(3)], rule(max_usd=3)).stops == ()


def test_a_reserving_budget_refuses_the_call_that_would_cross():
    assert one([call(n) for n in range(5)], rule(max_usd=1.5, preflight="reserve")) == ("max_usd", 1, 4, 4)


def test_a_call_in_flight_is_out_before_the_crossing_is_known():
    rows = [call(0, takes=10), call(1, takes=1), call(2, takes=1), call(11)]
    assert one(rows, rule(max_usd=1.5)) == ("max_usd", 3, 1, 1)  # the first two cross when the second ends, at 3


def test_a_crossing_by_the_last_call_saves_nothing_and_is_one():
    assert one([call(0), call(1)], rule(max_usd=1.5)) == ("max_usd", 2, 0, 0)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_calls": 2}, ("max_calls", 2, 3, 3)),
        ({"max_seconds": 2.5}, ("max_seconds", 3, 2, 2)),
        ({"max_tokens": 300}, ("max_tokens", 3, 2, 2)),
        ({"max_input_tokens": 250}, ("max_input_tokens", 3, 2, 2)),
        ({"max_output_tokens": 30, "preflight": "reserve"}, ("max_output_tokens", 1, 4, 4)),
        ({"max_cost_per_call": 0.5}, ("max_cost_per_call", 1, 4, 4)),
        ({"max_cost_per_call": 0.5, "preflight": "reserve"}, ("max_cost_per_call", 0, 5, 5)),
    ],
)
def test_every_limit_that_the_ledger_can_tell(limits, expected):
    assert one([call(n) for n in range(5)], rule(**limits), step_runs=[entered("1")]) == expected


def test_the_budget_of_a_step_counts_its_own_calls_and_ends_the_steps_below_it():
    rows = [call(0, "2", "plan/search", parent_id="1"), call(1), call(2), call(3, "2", "plan/search", parent_id="1")]
    runs = [entered("1"), entered("2", "plan/search", parent_id="1")]
    assert one(rows, rule(max_usd=1.5), step_runs=runs) == ("max_usd", 2, 1, 1)
    assert one(rows, rule(scope="tree", max_usd=1.5), step_runs=runs) == ("max_usd", 2, 2, 2)


def test_each_run_of_a_step_has_the_budget_for_itself():
    rows = [call(0, "1"), call(1, "2"), call(2, "2"), call(3, "2")]
    found = tried(rows, rule(max_usd=1.5))
    assert [(stop.step_id, stop.saved_calls) for stop in found.stops] == [("2", 1)]
    assert (found.rules[0].runs, found.rules[0].stopped, found.stopped_runs, found.runs) == (2, 1, 1, 1)


def test_a_call_that_an_outer_budget_stops_is_nothing_that_an_inner_one_counts():
    rows = [call(n, "2", "plan/search", parent_id="1") for n in range(6)]
    runs = [entered("1"), entered("2", "plan/search", parent_id="1")]
    together = tried(rows, rule(scope="tree", max_usd=1.5), rule("search", max_usd=3.5), step_runs=runs)
    assert [(stop.name, stop.saved_calls) for stop in together.stops] == [("plan", 4)]
    alone = tried(rows, rule(scope="tree", max_usd=1.5), rule("search", max_usd=3.5), step_runs=runs, each_alone=True)
    assert [(stop.name, stop.saved_calls) for stop in alone.stops] == [("plan", 4), ("search", 2)]
    assert alone.saved_calls == 4


def test_the_budget_of_an_agent_counts_all_its_steps_in_a_run():
    rows = [call(n, str(n), agent="writer") for n in range(4)]
    agents = Rule(name="wri*", kind="agent", limits={"max_usd": 1.5})
    assert one(rows, agents) == ("max_usd", 2, 2, 2)


def test_the_budget_of_a_run_counts_every_call_of_it():
    rows = [call(0, "1"), call(1, None, ""), call(2, "2", "answer"), call(3, "3", run_id="another")]
    assert one(rows, Rule(name="", kind="run", limits={"max_usd": 1.5})) == ("max_usd", 2, 1, 1)


def test_a_budget_that_only_looks_on_stops_nothing():
    assert one([call(n) for n in range(5)], rule(max_usd=1.5, mode="shadow")) == ("max_usd", 2, 0, 0)


def test_estimates_count_and_calls_of_unknown_cost_are_told():
    rows = [
        call(0, cost_picousd=None, estimated_cost_picousd=2 * 10**12),
        call(1),
        call(2, cost_picousd=None),
        call(3, outcome="failed"),
    ]
    found = tried(rows, rule(max_usd=1.5))
    assert (found.stops[0].saved_calls, found.unknown_calls, found.spent_picousd) == (2, 1, 3 * 10**12)


def test_the_first_budget_of_a_name_counts_and_a_name_comes_before_a_pattern():
    found = tried([call(0), call(1)], rule("*", max_usd=0.1), rule("plan", max_usd=9), rule("plan", max_usd=0.2))
    assert [each.runs for each in found.rules] == [0, 1, 0]


@given(
    costs=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    limit=st.integers(1, 60),
)
def test_the_replay_stops_where_the_budget_of_a_step_does(costs, limit):
    """Over the real thing: a step with such a budget, whose calls cost as much."""
    made = 0
    try:
        with step("plan", max_usd=limit / 10):
            for cost in costs:
                made += 1
                record_llm_usage("mine", 1, 1, cost / 10)
    except StepBudgetExceeded:
        pass
    drain_completed_steps()
    found = tried(
        [call(n, usd=cost / 10, cost_picousd=to_picousd(cost / 10)) for n, cost in enumerate(costs)],
        rule(max_usd=limit / 10),
    )
    assert found.saved_calls == len(costs) - made


ROWS = st.lists(
    st.builds(
        lambda n, place, usd, at, takes, outcome: call(n, place[0], place[1], parent_id=place[2], usd=usd, at=at, takes=takes, outcome=outcome, run_id=place[3]),
        st.integers(), st.sampled_from([("1", "plan", None, "a"), ("2", "plan/search", "1", "a"), ("3", "plan", None, "b"), (None, "", None, "b")]),
        st.integers(0, 5), st.integers(0, 20), st.integers(0, 5), st.sampled_from(["answered", "cut", "failed"]),
    ),
    max_size=12, unique_by=lambda row: row.call_id,
)  # fmt: skip
LIMITS = st.fixed_dictionaries(
    {}, optional={"max_usd": st.integers(0, 10), "max_calls": st.integers(1, 4), "max_tokens": st.integers(1, 500), "preflight": st.sampled_from(["exhausted", "reserve"])}
)  # fmt: skip


@given(
    ROWS,
    st.lists(
        st.builds(
            lambda name, scope, limits: rule(name, scope, **limits),
            st.sampled_from(["plan", "search", "*"]),
            st.sampled_from(["step", "tree"]),
            LIMITS,
        ),
        max_size=3,
    ),
)
def test_what_is_spent_and_what_is_saved_is_the_ledgers(rows, rules):
    found = tried(rows, *rules)
    billed = [row for row in rows if row.outcome in BILLED]
    assert found.spent_picousd == sum(row.cost_picousd for row in billed)
    assert found.saved_picousd == sum(stop.saved_picousd for stop in found.stops)
    assert found.saved_calls == sum(each.saved_calls for each in found.rules) <= len(billed)


# -- suggestions -------------------------------------------------------------------------------------------------------


def runs_of(costs, **fields):
    """Each run of the step has two calls, of which the second has the cost."""
    return [
        row
        for n, usd in enumerate(costs)
        for row in (call(2 * n, f"{n}", usd=0, **fields), call(2 * n + 1, f"{n}", usd=usd, **fields))
    ]


def test_a_budget_is_suggested_that_stops_as_many_runs_as_wished():
    (found,) = suggest(History(runs_of(range(1, 101))), Wish(stop_share=0.05))
    assert [found.cost.p50, found.cost.p95, found.cost.p99, found.cost.most] == [
        50 * 10**12,
        95 * 10**12,
        99 * 10**12,
        100 * 10**12,
    ]
    assert (found.limits, found.runs, found.stopped) == ({"max_usd": 95.0}, 100, 5)
    assert found.saved_picousd == sum(range(96, 101)) * 10**12


def test_exhausted_saves_what_comes_after_the_crossing_call():
    (found,) = suggest(History(runs_of(range(1, 101))), Wish(stop_share=0.05, preflight="exhausted"))
    assert (found.stopped, found.saved_picousd, found.limits["preflight"]) == (5, 0, "exhausted")


def test_the_cost_of_a_run_has_the_steps_below_it():
    rows = [call(0, "1", usd=1), call(1, "2", "plan/search", parent_id="1", usd=2)]
    found = suggest(History(rows, [entered("1"), entered("2", "plan/search", parent_id="1")]), Wish())
    assert [(each.step, each.cost.p50 // 10**12) for each in found] == [("plan", 3), ("search", 2)]
    assert [each.step for each in suggest(History(rows), Wish(steps=("sea*",)))] == ["search"]


def test_a_whole_run_gets_a_budget_too():
    rows = [
        row for n in range(4) for row in (call(n, f"{n}", run_id=f"{n}"), call(10 + n, None, "", usd=n, run_id=f"{n}"))
    ]
    found = suggest_for_runs(History(rows), Wish())
    assert (found.step, found.runs, found.cost.p50, found.cost.most) == (None, 4, 2 * 10**12, 4 * 10**12)
    assert found.limits == {"max_usd": 4.0}
    assert suggest_for_runs(History([]), Wish()) is None


def test_a_step_whose_cost_is_unknown_gets_a_limit_of_tokens():
    (found,) = suggest(History(runs_of([1, 2], cost_picousd=None)), Wish())
    assert (found.limits, found.unknown_calls) == ({"max_tokens": 240}, 4)


def test_a_step_whose_calls_vary_gets_a_limit_of_calls():
    rows = [call(n, "1") for n in range(10)] + [call(100 + n, f"{n // 2 + 2}") for n in range(4)]
    (found,) = suggest(History(rows), Wish())
    assert found.limits == {"max_usd": 10.0, "max_calls": 10}


def test_limits_are_rounded_up_to_two_digits():
    assert suggest(History([call(0, cost_picousd=123_456_789)]), Wish())[0].limits == {"max_usd": 0.00013}


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.95, 4), (0.25, 1), (0, 1), (1, 4)])
def test_a_percentile_is_one_of_the_values(share, value):
    assert percentile([4, 2, 1, 3], share) == value


NAMES = st.text(min_size=1).filter(lambda name: name != "(no step)") | st.sampled_from(
    ['pl"an', "plan\n[[steps]]", "it's {x}", "\x1b[31m", "\x7f", "\ud800", "*"]
)


@given(
    st.dictionaries(NAMES, st.integers(0, 10**15), min_size=1, max_size=4), st.sampled_from(["reserve", "exhausted"])
)
def test_the_snippet_is_a_file_that_the_loader_takes_and_says_the_same(tmp_path_factory, costs, preflight):
    rows = [call(n, str(n), "x", step=name, cost_picousd=cost) for n, (name, cost) in enumerate(costs.items())]
    found = suggest(History(rows), Wish(preflight=preflight))
    file = tmp_path_factory.mktemp("snippet") / "harn-steps.toml"
    file.write_text(snippet(found), encoding="utf-8")
    loaded = load(file)
    assert loaded.problems == ()
    names = [step.name for step in loaded.plan.steps]
    assert names == [each.step.encode(errors="replace").decode() for each in found]
    for planned, each in zip(loaded.plan.steps, found, strict=True):
        assert planned.options["scope"] == "tree"
        assert {name: value for name, value in planned.options["budget"].items() if name in each.limits} == each.limits


def test_the_snippet_names_the_function_where_a_file_does():
    found = suggest(History([call(0)]), Wish(targets={"plan": "app:plan"}))
    assert tomllib.loads(snippet(found))["steps"][0] == {
        "target": "app:plan",
        "name": "plan",
        "scope": "tree",
        "budget": {"max_usd": 1},
    }


# -- files -------------------------------------------------------------------------------------------------------------

FILE = """
frameworks = "auto"
agents."writer" = { max_usd = 1 }
[[steps]]
target = "app:Agent.plan"
scope = "tree"
budget = { max_usd = 0.5 }
[[steps]]
target = "app:tool"
name = "tool:{name}"
allowed_values = { name = ["a", "b"] }
budget = { max_calls = 3, preflight = "exhausted" }
[[steps]]
name = "node[1]"
budget = { max_tokens = 5 }
[[steps]]
target = "app:free"
[[steps]]
target = "app:x"
budget = { mode = "shadow" }
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "harn-steps.toml").write_text(FILE)
    loaded = load(tmp_path / "harn-steps.toml")
    assert loaded.problems == ()
    return loaded.plan


def test_the_budgets_of_a_file_are_those_that_have_a_limit(plan):
    rules = rules_of(plan)
    assert [(each.kind, each.name, each.scope, each.where) for each in rules] == [
        ("step", "plan", "tree", "harn-steps.toml:4"),
        ("step", "tool:*", "step", "harn-steps.toml:8"),
        ("step", "node[[]1]", "step", "harn-steps.toml:13"),
        ("agent", "writer", "tree", 'agents."writer"'),
    ]
    assert [each.reserves for each in rules] == [True, False, True, True]


def test_steps_of_a_file_are_found_by_the_names_that_they_have_in_the_ledger(plan):
    rows = [call(0, "1", "x", step="tool:b"), call(1, "2", "x", step="node[1]"), call(2, "3", "x", step="other")]
    assert [each.runs for each in replay(History(rows), rules_of(plan)).rules] == [0, 1, 1, 0]
    assert targets_of(plan) == {"plan": "app:Agent.plan", "free": "app:free", "x": "app:x"}
