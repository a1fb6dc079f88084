"""How a run stands in a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_harn_steps.cli._calls_text import call_lines
from otel_harn_steps.cli._show_text import run_detail_lines
from otel_harn_steps.cli._text_table import width_of
from otel_harn_steps.store import ProcessRow, RunDetail, RunRow, Spend, StepRun
from tests.cli.reports import spend
from tests.store.rows import sent, settled

NS = 10**9
BEGAN = 1_790_000_000 * NS
NOW = BEGAN + 100 * 86_400 * NS


def run(**fields):
    known = {
        "run_id": "7f3a91c2a0b1c2d3", "name": "agent.py", "program": "agent.py", "started_at": BEGAN,
        "ended_at": BEGAN + 42 * NS, "status": "ended", "exit_code": 0, "over": None, "limits": {},
        "spend": spend(0.0379, 6), "entered": 3, "breached": 1, "wasted_picousd": 0,
    }  # fmt: skip
    return RunRow(**(known | fields))


def step(path, **fields):
    parent = path.rpartition("/")[0]
    known = {
        "step_id": path, "run_id": "7f3a", "parent_id": parent or None, "name": path.rpartition("/")[2], "path": path,
        "agent": None, "labels": {}, "started_at": BEGAN, "ended_at": BEGAN + 3 * NS, "status": "completed",
        "breach": None, "error": None, "limits": {}, "own": spend(0.01),
    }  # fmt: skip
    return StepRun(**({"total": fields.get("own", known["own"])} | known | fields))


def detail(*steps, calls=(), **fields):
    return RunDetail(run=fields.pop("run", run()), steps=steps, calls=calls, **({"processes": ()} | fields))


def texts(shown, **options):
    return [line.text for line in run_detail_lines(shown, now_ns=options.pop("now_ns", NOW), **options)]


AGENT = detail(
    step("newsletter", own=spend(0.0004), total=spend(0.0372, 5), limits={"max_usd": 0.1}),
    step("newsletter/digest", limits={"max_usd": 0.02}),
    step(
        "newsletter/weather",
        status="skipped",
        breach="max_tokens",
        limits={"max_tokens": 5000},
        own=spend(0.0183, 1, input_tokens=9463, output_tokens=582),
    ),
    calls=(
        settled(1, "newsletter", cost_picousd=10**10),
        settled(2, "newsletter/weather", model="claude-5", cost_picousd=3 * 10**10),
        settled(3, "", cost_picousd=6 * 10**8),
    ),
    run=run(limits={"max_usd": 0.5}),
)


def test_a_run_is_a_tree_with_what_each_step_spent_and_how_far_its_budget_is():
    head, *rest = texts(AGENT)
    assert head.startswith("agent.py · run 7f3a91c2 · ")
    assert head.endswith(" · 42 s · exit 0        $0.0379 of $0.50")
    assert rest == [
        "  ────────── 7.6 % of $0.50",
        "  step        calls  input      own    total  budget",
        "  newsletter      1    100  $0.0004  $0.0372  ━━━─────── ≤ 37 % of $0.10",
        "    digest        1    100  $0.0100  $0.0100  ━━━━━───── 50 % of $0.02",
        "    weather       1  9,463  $0.0183  $0.0183  ━━━━━━━━━━ 201 % of 5,000 tokens",
        "  (no step)       1    100  $0.0006  $0.0006",
        "  claude-5 74 % · gpt-5 26 %",
        "  newsletter/weather: skipped: over max_tokens (10,045 of 5,000 tokens)",
    ]


def test_a_wide_terminal_has_more_columns_and_the_breach_beside_its_step():
    lines = texts(AGENT, width=160)
    assert lines[2] == "  step        calls  input  cached  output   took      own    total  budget"
    assert lines[5] == (
        "    weather       1  9,463       0     582  3.0 s  $0.0183  $0.0183  ━━━━━━━━━━ 201 % of 5,000 tokens"
        "   skipped: over max_tokens (10,045 of 5,000 tokens)"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 150])
def test_no_line_is_wider_than_the_terminal(width):
    long = detail(*AGENT.steps, step("x" * 300, status="failed", error="y" * 300), calls=AGENT.calls)
    assert max(map(width_of, texts(long, width=width))) <= width


def test_a_narrow_terminal_keeps_names_and_totals():
    assert texts(AGENT, width=26)[2].split() == ["step", "total"]


def test_many_siblings_of_one_name_are_one_line_with_what_became_of_them():
    every = [step("crawl")]
    for n in range(240):
        failed = n % 50 == 0
        every += [step("crawl/fetch", step_id=f"f{n}", status="failed" if failed else "completed")]
        every += [step("crawl/fetch/parse", step_id=f"p{n}", parent_id=f"f{n}")]
    assert texts(detail(*every), width=100)[1:] == [
        "  step             calls   input  cached  output   took      own    total",
        "  crawl                1     100       0      20  3.0 s  $0.0100  $0.0100",
        "    fetch x 240      240  24,000       0   4,800           $2.40    $2.40   5 failed",
        "      parse x 240    240  24,000       0   4,800           $2.40    $2.40",
    ]
    assert sum("fetch" in line for line in texts(detail(*every), has_all=True)) == 240


def test_a_few_siblings_have_a_line_each():
    assert sum("fetch" in line for line in texts(detail(*(step("fetch", step_id=str(n)) for n in range(5))))) == 5


def test_a_tree_without_end_is_cut_unless_all_is_asked_for():
    many = detail(*(step(f"step {n}") for n in range(1000)))
    assert "  and 800 more: --all" in texts(many)
    assert len(texts(many, has_all=True)) == 1002


def test_a_step_whose_parent_is_missing_is_still_there():
    assert texts(detail(step("lost/child", parent_id="gone")))[2].split()[0] == "child"


def test_a_killed_process_is_shown_with_what_it_left():
    nothing = Spend(open_calls=1)
    left = detail(
        step("plan", status="left", ended_at=None, own=nothing),
        calls=(sent(1, "plan"),),
        processes=(ProcessRow(process_id=7, parent_process_id=1, program="w.py", started_at=1, status="left"),),
        run=run(status="left", exit_code=None, spend=Spend(open_calls=1)),
    )
    head, *rest = texts(left)
    assert " · left: its processes are gone" in head
    assert rest == [
        "  step  calls  own  total",
        "  plan      …    …      …   left: its process is gone",
        "  gpt-5 100 %",
        "  … 1 call in flight when its process ended: gpt-5 in plan",
        "  … process 7 (w.py) is gone, and has not ended what it began",
    ]


def test_a_run_that_goes_on_says_for_how_long_and_what_is_in_flight():
    going = detail(
        step("plan", status="running", ended_at=None),
        calls=(sent(1, "plan"),),
        run=run(status="running", ended_at=None, exit_code=None),
    )
    lines = texts(going, now_ns=BEGAN + 12 * NS, width=120)
    assert " · running for 12 s" in lines[0]
    assert "12 s" in lines[2]
    assert "  … 1 call in flight now: gpt-5 in plan" in lines


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exit_code": -9}, "killed by SIGKILL"),
        ({"exit_code": None}, "ended"),
        ({"exit_code": 75, "over": "max_usd, $0.4980 of $0.5000"}, "exit 75"),
    ],
)
def test_how_a_run_ended_is_said(fields, said):
    lines = texts(detail(step("plan"), run=run(**fields)))
    assert lines[0].split(" · ")[-1].startswith(said)
    assert ("  ended by its budget: max_usd, $0.4980 of $0.5000" in lines) == ("over" in fields)


def test_what_is_not_in_the_numbers_is_said_below_them():
    calls = (settled(1, "plan", outcome="refused"), settled(2, "plan", outcome="failed"))
    odd = detail(
        step("plan", status="failed", error="no\nway", trace_id="ab" * 16, budget_events=("notified:0.5",)),
        calls=calls,
        notes=(("unseen_call", {"host": "api.example.com", "library": "httpx"}, 3), ("process_started", {}, 1)),
        damaged=("a.jsonl:7: torn",),
        run=run(spend=spend(0.01, 2, unknown_calls=1, unpriced_calls=1), source="claude-code"),
    )
    lines = texts(odd, width=120)
    assert lines[1] == "  from claude-code"
    assert lines[3].endswith(r"   failed: no\nway; notified:0.5")
    assert lines[-7:] == [
        "  ? 1 call of unknown cost, which no number here holds",
        "  1 call without a price",
        "  1 call refused by a budget, and billed to nobody",
        "  1 call rejected by the provider, and billed to nobody",
        "  ! 3 requests to api.example.com by httpx, from no client that is known here: not in this table",
        "  ! a line of its journals is left out, 1 of 1: a.jsonl:7: torn",
        f"  trace {'ab' * 16}",
    ]


@pytest.mark.parametrize(
    ("own", "total", "fields", "bar"),
    [
        (0.05, 0.05, {}, "━━━━━───── 50 % of $0.10"),
        (0.02, 0.05, {}, "━━━━━───── ≤ 50 % of $0.10"),
        (0.02, 0.5, {}, "━━──────── 20 % of $0.10"),
        (0.02, 0.5, {"breach": "max_usd", "status": "failed"}, "━━━━━━━━━━ 500 % of $0.10"),
        (0.2, 0.5, {"breach": "max_usd", "status": "failed"}, "━━━━━━━━━━ 200 % of $0.10"),
    ],
)
def test_a_bar_shows_what_is_known_of_a_budget_that_may_cover_nested_steps(own, total, fields, bar):
    lines = texts(detail(step("plan", own=spend(own), total=spend(total), limits={"max_usd": 0.1}, **fields)))
    assert bar in lines[2]


def test_nothing_may_be_spent_is_a_budget_too():
    lines = texts(detail(step("plan", limits={"max_usd": 0}), step("free", limits={"max_usd": 0}, own=spend(0.0))))
    assert "━━━━━━━━━━ over of $0" in lines[2]
    assert "────────── 0 % of $0" in lines[3]


@pytest.mark.parametrize("name", ["<b>", "\x1b[2J", "x" * 10_000, "שלום", "🎉🎉", "\u202eevil\n"])
def test_whatever_a_name_is_the_terminal_is_safe(name):
    lines = texts(detail(step("plan"), step(name, detail=name, error=name, status="failed"), run=run(name=name)))
    assert not {"\x1b", "\u202e", "\n"} & set("".join(lines))
    assert max(map(width_of, lines)) <= 80


# -- calls -------------------------------------------------------------------------------------------------------------


def calls():
    none = {"input_tokens": None, "output_tokens": None, "cost_picousd": None}
    rows = [
        settled(1, "newsletter/digest", cache_read_tokens=40, duration_ns=NS),
        settled(2, "", outcome="cut", certainty="estimated", estimated_cost_picousd=10**9, estimated_tokens=5, **none),
        settled(3, "plan", certainty="unknown", **none),
        settled(4, "plan", outcome="refused", duration_ns=None, **none),
        sent(5, "plan"),
    ]
    return [replace(row, sent_at=BEGAN + n * NS) for n, row in enumerate(rows)]


def test_calls_are_lines_with_tokens_dollars_and_where_these_are_from():
    assert [line.text for line in call_lines(calls(), BEGAN, width=100)] == [
        "      at  step               model  input  cached  output   took      cost  numbers",
        "   +0 ms  newsletter/digest  gpt-5    100      40      20  1.0 s   $0.0010  measured",
        "  +1.0 s  (no step)          gpt-5      ?       0       ?   0 ms  ~$0.0010  cut",
        "  +2.0 s  plan               gpt-5      ?       0       ?   0 ms         ?  unknown",
        "  +3.0 s  plan               gpt-5                                          refused",
        "  +4.0 s  plan               gpt-5                                          in flight",
    ]


def test_in_a_narrow_terminal_calls_keep_their_dollars():
    assert call_lines(calls(), BEGAN, width=40)[0].text.split() == ["step", "model", "cost"]


def test_many_calls_are_cut_unless_all_are_asked_for():
    many = calls() * 100
    assert call_lines(many, BEGAN)[-1].text == "  and 300 more: --all"
    assert len(call_lines(many, BEGAN, has_all=True)) == 501
    assert [line.text for line in call_lines([], BEGAN)] == ["  no calls"]
