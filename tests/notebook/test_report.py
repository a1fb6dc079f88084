"""`otel_harn_steps.report()`: what steps have cost, of this process or of a folder, as HTML, text and frames."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import otel_harn_steps
from otel_harn_steps import Journal, labels, record_llm_usage, step
from otel_harn_steps.notebook import SpendReport
from tests.provider import PRICES, provider

ROOT = Path(__file__).resolve().parent.parent.parent
Report = Callable[..., SpendReport]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that a journal is written to, of all that the test does."""
    records = tmp_path / "records"
    records.mkdir()
    otel_harn_steps.reset_steps()
    otel_harn_steps.instrument(sinks=[Journal(records)], prices=PRICES)
    yield records
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()


@pytest.fixture(params=["process", "folder"])
def report(request: pytest.FixtureRequest, folder: Path) -> Report:
    """`report()` over the same steps, as this process remembers them and as the journal has them."""
    if request.param == "process":
        return otel_harn_steps.report
    pytest.importorskip("msgspec", reason="needs the extra `cli`")

    def of_folder(*args: object, **kwargs: object) -> SpendReport:
        return otel_harn_steps.report(*args, records=folder, **kwargs)

    return of_folder


def work() -> None:
    """Two runs of a step with others in it, one of which goes over its budget."""
    for tenant in ("acme", "globex"):
        with labels(tenant=tenant), step("newsletter", agent="writer"):
            record_llm_usage("gpt-5", 1000, 100, 0.5, provider="openai", cache_read_tokens=400)
            with step("digest", error_boundary="continue", max_usd=0.1):
                record_llm_usage("claude", 2000, 200, 0.25, provider="anthropic")
            with step("digest/short"):
                record_llm_usage("gpt-5", 10, 1, 0.125, provider="openai")


class Read(HTMLParser):
    """What a browser makes of HTML: the tags, and the texts of cells row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "tr" in self._open:
            self.rows[-1][-1] += data


# -- the numbers -------------------------------------------------------------------------------------------------------


def test_steps_are_shown_with_what_they_spent_themselves_and_with_those_below_the_most_expensive_first(report):
    work()
    rows = Read(report()._repr_html_()).rows
    headings = ["step", "runs", "calls", "input", "cached", "output", "own", "total", "breached"]
    assert rows[:4] == [
        headings,
        ["newsletter", "2", "2", "2,000", "800", "200", "$1.00", "$1.75", ""],
        ["digest", "2", "2", "4,000", "0", "400", "$0.5000", "$0.5000", "2"],
        ["digest/short", "2", "2", "20", "0", "2", "$0.2500", "$0.2500", ""],
    ]
    assert [row[0] for row in rows[4:]] == ["step", "newsletter", "digest", "digest/short"]


def test_the_headline_says_what_was_spent_where_it_went_and_what_was_wasted(report):
    work()
    headline = str(report()).splitlines()[0]
    expected = (
        "$1.75 · 6 calls · 6.0k tokens in (13 % cached), 602 out · 6 runs of steps · 2 over budget · $0.5000 in steps"
    )
    assert headline.startswith(expected)


def test_the_text_has_the_table_and_the_tree(report):
    work()
    assert str(report()).splitlines()[2:11] == [
        "step          runs  calls  input  cached  output      own    total  breached",
        "newsletter       2      2  2,000     800     200    $1.00    $1.75",
        "digest           2      2  4,000       0     400  $0.5000  $0.5000         2",
        "digest/short     2      2     20       0       2  $0.2500  $0.2500",
        "",
        "step            runs  calls  input  cached  output      own    total  breached",
        "newsletter         2      2  2,000     800     200    $1.00    $1.75",
        "  digest           2      2  4,000       0     400  $0.5000  $0.5000         2",
        "  digest/short     2      2     20       0       2  $0.2500  $0.2500",
    ]


@pytest.mark.parametrize(
    ("by", "costs"),
    [
        ("path", {"newsletter": 1.0, "newsletter/digest": 0.5, "newsletter/digest/short": 0.25}),
        ("agent", {"writer": 1.75}),
        ("model", {"gpt-5": 1.25, "claude": 0.5}),
        ("provider", {"openai": 1.25, "anthropic": 0.5}),
        ("status", {"completed": 1.25, "skipped": 0.5}),
        ("label:tenant", {"acme": 0.875, "globex": 0.875}),
    ],
)
def test_spend_is_grouped_by_whatever_is_asked_for(report, by, costs):
    work()
    view = report(by).view
    assert {row.key: row.spend.cost_usd for row in view.rows} == costs
    assert view.total.cost_usd == 1.75


@pytest.mark.parametrize("by", ["run", "day"])
def test_runs_and_days_have_all_of_it(report, by):
    work()
    (row,) = report(by).view.rows
    assert (row.spend.cost_usd, row.spend.calls, row.runs) == (1.75, 6, 1)


def test_this_process_and_its_journal_give_the_same_numbers(folder):
    pytest.importorskip("msgspec", reason="needs the extra `cli`")
    work()
    for by in ("step", "path", "model", "status", "label:tenant"):
        ours, kept = otel_harn_steps.report(by).view, otel_harn_steps.report(by, records=folder).view
        rows = [
            sorted((row.key, row.name, str((row.spend, row.total, row.entered, row.costs))) for row in view.rows)
            for view in (ours, kept)
        ]
        assert rows[0] == rows[1]
        totals = [
            (view.total, view.costs, view.runs, view.entered, view.breached, view.breached_steps, view.wasted_picousd)
            for view in (ours, kept)
        ]
        assert totals[0] == totals[1]


@pytest.mark.parametrize(
    ("chosen", "dollars"),
    [
        ({"step": "digest*"}, 0.75),
        ({"step": ["digest", "newsletter"]}, 1.5),
        ({"agent": "nobody"}, None),
        ({"labels": {"tenant": "acme"}}, 0.875),
        ({"since": "1h"}, 1.75),
        ({"until": "1h"}, None),
        ({"run": "0" * 16}, None),
    ],
)
def test_only_what_is_asked_for_is_in_it(report, chosen, dollars):
    work()
    view = report(**chosen).view
    assert (view.total.cost_usd if view.rows else None) == dollars


def test_calls_of_a_real_client_are_in_it(report, replay):
    with provider(replay) as llm, step("ask"):
        llm.ask(1000, 500)
    (row,) = report("model").view.rows
    assert (row.spend.calls, row.spend.input_tokens, row.spend.cost_usd) == (1, 1000, 0.0065)


def test_an_unknown_cost_is_no_zero_and_is_said(report):
    with step("plan"):
        record_llm_usage("a model of nobody's", 10, 5)
    shown = str(report())
    assert shown.startswith("? · 1 call")
    assert "? 1 call of unknown cost, which no number here holds" in shown


def test_an_estimate_has_a_tilde_and_lighter_ink(report):
    with step("plan", max_usd=10_000, error_boundary="continue"):
        record_llm_usage("a model of nobody's", 10, 5)
    made = report()
    assert str(made).startswith("~")
    assert "of it is estimated, for 1 call" in str(made)
    assert "opacity:.75" in made._repr_html_().partition("<tbody>")[2]


def test_records_that_were_drained_can_be_shown(folder):
    work()
    drained = otel_harn_steps.drain_completed_steps()
    assert otel_harn_steps.report().view.rows == ()
    assert otel_harn_steps.report(records=drained).view.total.cost_usd == 1.75


def test_a_report_takes_no_record_away(folder):
    work()
    otel_harn_steps.report()
    assert len(otel_harn_steps.drain_completed_steps()) == 6


def test_what_comes_after_a_steps_end_is_counted_and_is_no_run(folder, replay):
    with provider(replay) as llm:
        with step("ask"):
            stream = llm.ask(10, 5, stream=True)
            next(stream)
        for _ in stream:
            pass
    (row,) = otel_harn_steps.report().view.rows
    assert (row.spend.calls, row.spend.output_tokens, row.entered) == (1, 5, 1)


def test_nothing_yet_says_what_to_do(report):
    assert str(report()).splitlines()[-1].startswith(("no step has ended yet", "nothing is recorded"))
    assert Read(report()._repr_html_()).rows == []


# -- wrong arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["stepp", "label:"])
def test_what_cannot_be_grouped_by_is_an_error_that_says_what_can(report, by):
    with pytest.raises(ValueError, match="step"):
        report(by)


def test_a_time_that_is_none_is_an_error_that_says_what_is(report):
    with pytest.raises(ValueError, match="since must be a period such as 90m, 24h, 7d"):
        report(since="last week")


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="there is no such folder"):
        otel_harn_steps.report(records=tmp_path / "none")


# -- names are data ----------------------------------------------------------------------------------------------------

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\x1b[31mred\x1b[0m",
    "abc\u202edef",
    "שלב",
    "🧑‍🚀 plan",
    "line\nbreak",
    "计划",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_kind_is_shown_as_text(report, name):
    with step(name), step("below"):
        record_llm_usage(name, 1, 1, 0.5, provider=name)
    for by in ("step", "model", "provider"):
        made = report(by)
        read = Read(made._repr_html_())
        assert set(read.tags) <= {"div", "p", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td", "bdi"}
        assert {attribute for attribute, _ in read.attributes} <= {"style", "title", "scope"}
        assert "\x1b" not in str(made) + read.text
        assert "\u202e" not in str(made) + read.text
        assert len(str(made).split("\n\n")[1].splitlines()) == len(made.view.rows) + 1


def test_a_name_of_ten_thousand_characters_is_cut(report):
    with step("x" * 10_000):
        record_llm_usage("m", 1, 1, 0.5)
    made = report()
    assert max(map(len, str(made).splitlines())) < 150
    assert len(made._repr_html_()) < 10_000


def test_nothing_is_fetched_and_nothing_runs(report):
    work()
    html = report()._repr_html_()
    assert not any(each in html for each in ("<script", "http", "url(", "src=", "href=", "@import"))


def test_many_rows_are_cut_and_the_rest_is_counted(report):
    for number in range(40):
        with step(f"step {number}"):
            record_llm_usage("m", 1, 1, 0.5)
    assert "and 10 more rows" in str(report())
    assert "and 10 more rows" in report()._repr_html_()


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_the_rows_the_runs_of_steps_and_the_calls(report, library):
    pytest.importorskip(library)
    work()
    made = report("model")

    def frame(what: str) -> list[dict[str, object]]:
        found = getattr(made, f"to_{library}")(what)
        return found.to_dicts() if library == "polars" else found.to_dict("records")

    rows = frame("rows")
    assert [(row["model"], row["calls"], row["cost_usd"]) for row in rows] == [("gpt-5", 4, 1.25), ("claude", 2, 0.5)]
    runs = frame("steps")
    assert [run["name"] for run in runs].count("digest") == 2
    assert {(run["status"], json.loads(run["labels"])["tenant"]) for run in runs if run["name"] == "digest"} == {
        ("skipped", "acme"),
        ("skipped", "globex"),
    }
    assert sum(run["cost_usd"] for run in runs) == 1.75
    if made._source.where != "this process":
        calls = frame("calls")
        assert (len(calls), sum(call["cost_usd"] for call in calls)) == (6, 1.75)


def test_single_calls_of_records_are_an_error_that_says_where_they_are(folder):
    pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="keep them with a Journal"):
        otel_harn_steps.report().to_pandas("calls")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_missing_is_an_error_that_says_how_to_get_it(folder, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"a frame of {library} needs {library}: pip install {library}"):
        getattr(otel_harn_steps.report(), f"to_{library}")()


def test_a_folder_without_the_extra_is_an_error_that_names_it(tmp_path):
    program = "import sys; sys.modules['msgspec'] = None; import otel_harn_steps; otel_harn_steps.report(records='.')"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert "reading a folder of records needs msgspec: pip install 'otel-harn-steps[cli]'" in ran.stderr


def test_a_report_imports_no_library_of_frames(folder):
    program = (
        "import sys, otel_harn_steps; otel_harn_steps.report()._repr_html_(); "
        "print([name for name in ('pandas', 'polars', 'msgspec', 'rich', 'IPython') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"
