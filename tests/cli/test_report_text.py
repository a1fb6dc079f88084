"""How a report stands in a terminal."""

from __future__ import annotations

import pytest

from otel_harn_steps.cli._report_text import report_lines
from otel_harn_steps.cli._text_table import width_of
from otel_harn_steps.store import Costs, Filter
from tests.cli.reports import USD, report, row, spend

DAY = (1, 2, 3, 0, 5)
AGENT = report(
    row("newsletter", 0.0004, total=spend(0.0372, 5), entered=40, runs=40, trend=DAY),
    row(
        "retrieve",
        spend=spend(0.0183, 4000, input_tokens=1_239_463, cache_read_tokens=8320, output_tokens=58_200),
        costs=Costs(p50_picousd=10**9, p95_picousd=2 * 10**10),
        entered=40,
        runs=40,
        breached=9,
        wasted_picousd=10**10,
        trend=(10, 2, 3, 4, 5),
    ),
    row("digest", 0.0124, 2, entered=40, runs=40, trend=DAY),
    row("(no step)", 0.0006, key="", entered=0, spend=spend(0.0006, estimated_cost_picousd=10**9, estimated_calls=1)),
    row("odd", calls=3, spend=spend(calls=3, unknown_calls=3, unpriced_calls=3, priced_calls=0), costs=Costs()),
    runs=148,
    before=spend(0.0288),
    breached=9,
    breached_steps=1,
    wasted_picousd=10**10,
    failed_picousd=10**9,
    trend=(1, 2, 3, 4, 5, 9, 3),
    costs=Costs(p50_picousd=61 * 10**9, p95_picousd=42 * 10**10),
    damaged=1,
)


def texts(shown=AGENT, **options):
    return [line.text for line in report_lines(shown, **options)]


def table(shown, **options):
    """The lines from the headings on."""
    lines = texts(shown, **options)
    return lines[next(n for n, line in enumerate(lines) if " calls " in line and "·" not in line) :]


def test_a_report_fits_a_screen_of_80_columns():
    assert texts(period="last 7 days") == [
        "last 7 days · 148 runs · 4,007 calls                                  ~$0.0327?",
        "  a run $0.0610 p50, $0.4200 p95 · 14 % more than in the period before ($0.0288)",
        "  31 % wasted ($0.0100, $0.0010 in failed steps) · 9 breaches in 1 step",
        "  1.2M tokens in (0.7 % cached), 58k out · ▂▃▄▅▅█▄",
        "  step        runs  calls      input  cached       own     total  run p95  over",
        "  newsletter    40      1        100     0 %   $0.0004   $0.0372  $0.0008",
        "  retrieve      40  4,000  1,239,463   0.7 %   $0.0183   $0.0183  $0.0200  23 %",
        "  digest        40      2        200     0 %   $0.0124   $0.0124  $0.0248",
        "  (no step)             1        100     0 %  ~$0.0016  ~$0.0016  $0.0012",
        "  odd            1      3        300     0 %         ?         ?        ?",
        "  ~ $0.0010 of it is estimated, for 1 call",
        "  ? 3 calls of unknown cost, which no number here holds",
        "  3 calls without a price",
        "  ! 1 line of the journals left out, which could not be read",
        "  `retrieve` breached 9 of 40 runs: otel-harn-steps budget suggest retrieve",
    ]


@pytest.mark.parametrize(
    ("width", "table"),
    [
        (
            60,
            [
                "  step        runs  calls       own     total  run p95  over",
                "  newsletter    40      1   $0.0004   $0.0372  $0.0008",
                "  retrieve      40  4,000   $0.0183   $0.0183  $0.0200  23 %",
            ],
        ),
        (
            100,
            [
                "  step        runs  calls      input  cached  output       own     total  run p50  run p95  over",
                "  newsletter    40      1        100     0 %      20   $0.0004   $0.0372  $0.0004  $0.0008",
                "  retrieve      40  4,000  1,239,463   0.7 %  58,200   $0.0183   $0.0183  $0.0010  $0.0200  23 %",
            ],
        ),
        (
            120,
            [
                "  step        runs  calls      input  cached  output       own     total  run p50  run p95  over   wasted  trend",
                "  newsletter    40      1        100     0 %      20   $0.0004   $0.0372  $0.0004  $0.0008                 ▃▄▆▁█",
                "  retrieve      40  4,000  1,239,463   0.7 %  58,200   $0.0183   $0.0183  $0.0010  $0.0200  23 %  $0.0100  █▃▄▄▅",
            ],
        ),
    ],
)
def test_a_wider_terminal_shows_more_columns(width, table):
    lines = texts(width=width)
    first = next(n for n, line in enumerate(lines) if line.startswith("  step"))
    assert lines[first : first + 3] == table
    assert max(map(width_of, lines)) <= width


def test_in_a_very_narrow_terminal_the_dollars_stay():
    assert next(line.split() for line in texts(width=25) if line.startswith("  step ")) == ["step", "total"]


def test_more_than_a_screen_of_rows_is_cut_unless_all_are_asked_for():
    many = report(*(row(f"step {n}") for n in range(1027)))
    assert texts(many)[-1] == "  and 1,012 more: --all"
    assert len(table(many, has_all=True)) == 1 + 1027


def test_what_costs_nothing_is_not_what_has_no_price():
    lines = table(
        report(row("free", 0.0), row("tiny", 1e-9), row("unknown", spend=spend(unknown_calls=1, priced_calls=0)))
    )
    totals = {line.split()[0]: line.split()[5] for line in lines[1:4]}
    assert totals == {"free": "$0", "tiny": "<$0.0001", "unknown": "?"}


def test_columns_with_nothing_to_say_are_not_there():
    head = next(line.split() for line in texts(report(row("plan")), width=200) if line.startswith("  step"))
    assert head == ["step", "runs", "calls", "input", "output", "own", "total", "run", "p50", "run", "p95"]


@pytest.mark.parametrize(
    ("by", "headings"),
    [
        ("model", "model calls input output cost 1k calls"),
        ("day", "day runs calls input output cost run p50 run p95"),
        ("run", "run calls input output cost"),
        ("label:tenant", "tenant runs calls input output cost run p50 run p95"),
    ],
)
def test_what_is_no_step_has_one_cost(by, headings):
    lines = table(report(row("x", trend=()), by=by), width=200)
    assert lines[0].split() == headings.split()


def test_a_thousand_calls_of_a_model_cost_what_the_priced_ones_say():
    lines = table(report(row("gpt-5", spend=spend(2.0, 5, priced_calls=4, unknown_calls=1)), by="model"))
    assert lines[1].split()[-1] == "$500.00"


def test_advice_is_one_line_for_the_step_that_breaches_most():
    lines = texts(report(row("plan", breached=2, entered=9), row("it's", breached=3, entered=9)))
    assert lines[-1] == "  `it's` breached 3 of 9 runs: otel-harn-steps budget suggest 'it'\"'\"'s'"


def test_a_report_without_a_breach_says_what_has_no_price_or_was_wasted():
    unpriced = report(row("plan", spend=spend(unpriced_calls=1, unknown_calls=1, priced_calls=0)))
    assert texts(unpriced)[-1] == "  which models have no price: otel-harn-steps report --by model"
    wasted = report(row("plan", 1.0), wasted_picousd=USD // 2)
    assert texts(wasted)[-1] == "  what steps spent that failed: otel-harn-steps report --by status"
    assert "otel-harn-steps" not in texts(report(row("plan", 1.0)))[-1]


def test_an_empty_store_says_what_to_run_and_a_filter_that_nothing_matches_says_so():
    assert texts(report()) == ["nothing is recorded yet: otel-harn-steps run -- python app.py"]
    assert texts(report(filter=Filter(steps=("x*",))), period="last 7 days") == [
        "nothing matches (last 7 days): leave out an option to see more"
    ]
    assert texts(report(damaged=2))[1] == "  ! 2 lines of the journals left out, which could not be read"


@pytest.mark.parametrize("name", ["<b>&amp;", "\x1b]0;x\x07", "x" * 10_000, "שלום", "👩‍💻🎉", "\u202eevil\n", "\udc80"])
def test_whatever_a_name_is_the_columns_stay_where_they_are(name):
    lines = table(report(row("plan", breached=1), row(name, breached=1)))
    head, plan, odd = lines[:3]
    assert width_of(plan) == width_of(odd) == width_of(head) <= 80
    assert not {"\x1b", "\u202e", "\n", "\x07"} & set("".join(lines))
