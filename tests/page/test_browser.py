"""The page as a reader has it: in Chromium, over runs that the real package recorded."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from otel_harn_steps import Journal
from otel_harn_steps.page import report_html
from otel_harn_steps.page._server import page_app
from otel_harn_steps.store import Spend, Store, _numbers
from tests.integration.backends.binaries import REQUIRED, program, tool
from tests.page.names import HOSTILE
from tests.page.records import write_two_weeks
from tests.store.rows import ended, settled, started

if not REQUIRED:
    pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, expect, sync_playwright

from tests.page.visits import FLAGS, barriers, visit

__all__ = ["tool"]

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parent.parent.parent
STATIC = ROOT / "otel_harn_steps" / "page" / "static"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser(tool) -> Iterator[Browser]:
    chromium = program(tool, "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(tool) -> Path:
    return program(tool, "axe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Records of the demo, by `otel-harn-steps run`, and of other programs of three days."""
    folder = tmp_path_factory.mktemp("records")
    subprocess.run(
        [sys.executable, "-m", "otel_harn_steps.cli", "run", "--no-table", "--", sys.executable, "examples/demo.py"],
        cwd=ROOT, check=True, timeout=120, capture_output=True, env={**os.environ, "OTEL_HARN_STEPS_RECORDS": str(folder)},
    )  # fmt: skip
    write_two_weeks(folder, time.time_ns(), days=3)
    return folder


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """The served page."""
    with Store(folder) as store, serving(store) as address:
        yield address


class serving:  # noqa: N801 -- reads as a verb
    """A server of a store in a thread."""

    def __init__(self, store):
        app = page_app(store, is_stopping=lambda: self.server.should_exit, looks_every_s=0.2)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/"

    def __exit__(self, *_error):
        self.server.should_exit = True
        self.thread.join()


def section(page, caption):
    return page.locator("section", has=page.locator(".caption", has_text=caption)).first


def test_from_the_filter_to_the_runs_to_a_tree_to_its_calls(browser, address):
    with visit(browser, address) as page:
        page.get_by_label("program").select_option("research_agent.py")
        expect(section(page, "Steps").locator("tbody th a")).to_have_count(5)
        assert "program=research_agent.py" in page.url
        section(page, "Steps").get_by_role("link", name="retrieve").click()
        expect(section(page, "Steps").locator("tbody th a")).to_have_count(1)
        section(page, "Runs").get_by_role("link", name="research_agent.py").last.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("research_agent.py")
        section(page, "Steps").get_by_role("link", name="write").click()
        expect(section(page, "Calls of write").get_by_role("row").nth(1)).to_contain_text("claude-sonnet-4-5")
        page.keyboard.press("Escape")
        expect(page.get_by_label("program")).to_have_value("research_agent.py")
        assert "step=retrieve" in page.url


def test_the_demo_that_was_recorded_is_there_with_its_tree(browser, address):
    with visit(browser, f"{address}#/?program=demo.py") as page:
        section(page, "Runs").get_by_role("link", name="demo.py").first.click()
        # The page before has a table of steps too.
        expect(page.get_by_role("heading", name="demo.py", level=1)).to_be_visible()
        tree = section(page, "Steps")
        expect(tree.get_by_role("link", name="newsletter")).to_be_visible()
        expect(tree.get_by_role("link", name="digest").first).to_be_visible()
        tree.get_by_role("link", name="digest").first.click()
        expect(section(page, "Calls of digest").get_by_role("rowheader").first).to_be_visible()


def test_a_bar_leads_to_the_runs_behind_it(browser, address):
    with visit(browser, address) as page:
        expect(page.locator(".chart canvas")).to_be_visible()
        box = page.locator(".chart .u-over").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] - 4)
        expect(page.locator(".tip")).to_be_visible()
        page.mouse.click(box["x"] + box["width"] * 0.95, box["y"] + box["height"] - 4)
        page.wait_for_url("**until=**")
        assert "step=" in page.url
        expect(section(page, "Runs").get_by_role("rowheader").first).to_be_visible()


def test_a_filter_that_matches_nothing_can_be_cleared(browser, address):
    with visit(browser, f"{address}#/?step=nothing-like-it") as page:
        expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
        page.get_by_role("link", name="Clear the filter").click()
        expect(section(page, "Runs").get_by_role("rowheader").first).to_be_visible()


CHILD = """
import sys
from otel_harn_steps import Journal, instrument, record_llm_usage, step
instrument(sinks=[Journal(sys.argv[1], run_name="child")])
for name in sys.stdin:
    with step(name.strip()):
        record_llm_usage("gpt-4o-mini", 1_000, 200)
        input()
"""


def test_a_step_of_a_running_program_arrives_by_itself(browser, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, text=True)
    try:
        with Store(tmp_path) as store, serving(store) as address, visit(browser, address) as page:
            expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
            say(child, "first")
            expect(section(page, "Steps").get_by_role("link", name="first")).to_be_visible()
            expect(section(page, "Runs").get_by_role("row").nth(1)).to_contain_text("running")
            say(child, "")
            say(child, "second")
            expect(section(page, "Steps").get_by_role("link", name="second")).to_be_visible()
            expect(page.locator("tr.arrived", has_text="second").first).to_be_visible()
    finally:
        child.kill()
        child.communicate()


def say(child, text):
    child.stdin.write(f"{text}\n")
    child.stdin.flush()


def test_two_runs_are_marked_and_compared(browser, address, axe):
    with visit(browser, f"{address}#/?program=research_agent.py", reduced_motion="reduce") as page:
        runs = section(page, "Runs").locator("tbody th a")
        runs.last.focus()
        page.keyboard.press("d")
        expect(page.get_by_role("status")).to_contain_text("Marked")
        runs.nth(1).focus()
        page.keyboard.press("d")
        page.wait_for_url("**/diff?**")
        expect(page.locator(".sentences li").first).to_contain_text("$")
        expect(section(page, "Steps").locator("tbody th").first).to_be_visible()
        assert barriers(page, axe) == []
        page.keyboard.press("Escape")
        expect(page.get_by_label("program")).to_have_value("research_agent.py")


def test_a_page_that_is_older_than_its_server_says_so(browser, address):
    with visit(browser, address) as page:
        expect(page.locator(".old")).to_have_count(0)
        news = "event: page\ndata: of-tomorrow\n\n"
        page.route("**/events", lambda route: route.fulfill(body=news, content_type="text/event-stream"))
        page.reload()
        expect(page.locator(".old")).to_contain_text("older version")


def test_a_page_whose_server_is_gone_says_so_and_keeps_its_numbers(browser, folder):
    with Store(folder) as store:
        server = serving(store)
        with server as address:
            context = browser.new_context()
            page = context.new_page()
            page.goto(address)
            expect(page.locator("#bar .state")).to_have_text("live")
        expect(page.locator("#bar .state")).to_have_text("not connected")
        expect(section(page, "Steps").get_by_role("rowheader").first).to_be_visible()
        context.close()


def test_the_keyboard_is_enough(browser, address):
    with visit(browser, address) as page:
        page.keyboard.press("/")
        page.keyboard.type("plan")
        page.keyboard.press("Enter")
        page.wait_for_url("**step=plan**")
        expect(section(page, "Steps").locator("tbody th a")).to_have_count(1)
        page.keyboard.press("/")
        page.keyboard.type("x")
        page.keyboard.press("Escape")
        expect(page.get_by_label("step", exact=True)).not_to_be_focused()
        expect(page.get_by_label("step", exact=True)).to_have_value("plan")
        page.keyboard.press("j")
        expect(section(page, "Steps").get_by_role("link", name="plan")).to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone"])
def test_axe_finds_no_barrier(browser, address, axe, scheme, options):
    with visit(browser, address, color_scheme=scheme, reduced_motion="reduce", **options) as page:
        expect(page.locator(".chart canvas")).to_be_visible()
        assert barriers(page, axe) == []
        page.locator("summary").first.click()
        section(page, "Runs").get_by_role("link", name="research_agent.py").first.click()
        page.locator(".calls").wait_for()
        page.locator(".calls").scroll_into_view_if_needed()
        assert barriers(page, axe) == []


def test_a_phone_shows_names_and_dollars_and_the_rest_on_tap(browser, address):
    with visit(browser, address, **PHONE) as page:
        steps = section(page, "Steps")
        assert steps.locator("thead th:visible").all_inner_texts()[:2] == ["STEP", "OWN"]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        steps.get_by_role("button", name="more").first.tap()
        expect(steps.locator("dt", has_text="p95")).to_be_visible()


def test_the_report_is_a_file_that_works_by_itself(browser, folder, tmp_path, axe):
    with Store(folder) as store:
        store.update()
        (tmp_path / "report.html").write_text(report_html(store, described="all time"), encoding="utf-8")
    address = (tmp_path / "report.html").as_uri()
    with visit(browser, address, reduced_motion="reduce") as page:
        expect(page.locator(".chart canvas")).to_be_visible()
        assert barriers(page, axe) == []
        section(page, "Most expensive runs").get_by_role("link").first.click()
        expect(section(page, "Steps").get_by_role("rowheader").first).to_be_visible()


@pytest.mark.parametrize("size", ["A4", "Letter"])
def test_the_report_prints_with_its_trees_and_without_cut_rows(browser, folder, tmp_path, size):
    with Store(folder) as store:
        store.update()
        (tmp_path / "report.html").write_text(report_html(store), encoding="utf-8")
    with visit(browser, (tmp_path / "report.html").as_uri(), color_scheme="dark") as page:
        assert page.pdf(format=size).count(b"/Type /Page\n") > 1
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        expect(page.locator(".trees table").first).to_be_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('tr')).breakInside") == "avoid"
        page.set_viewport_size({"width": 680, "height": 960})  # of a sheet within its margins
        expect(section(page, "Models").locator("th", has_text="Cached")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 680
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def test_names_are_shown_as_text(browser, tmp_path):
    journal = Journal(tmp_path, run_id="0123456789abcdef", run_name="</title><script>alert(1)</script>")
    for number, name in enumerate(HOSTILE.values()):
        step_id = str(number)
        journal.step_started(started(step_id=step_id, name=name, path=name, start_time=time.time_ns()))
        journal.call_settled(
            settled(step_id, step_id=step_id, step=name, path=name, model=name, agent=name, sent_at=time.time_ns())
        )
        journal.step_ended(ended(step_id=step_id, name=name, path=name, status="failed", error=name))
    journal.close()
    with Store(tmp_path) as store, serving(store) as address, visit(browser, address) as page:
        names = section(page, "Steps").locator("tbody th .name")
        expect(names).to_have_count(len(HOSTILE))
        assert set(names.all_text_contents()) == {_numbers.shown(each) for each in HOSTILE.values()}
        assert page.evaluate("document.documentElement.scrollWidth") == 1440
        for name in ("a pattern", "HTML"):
            section(page, "Steps").get_by_role("link", name=HOSTILE[name], exact=True).click()
            expect(names).to_have_count(1)
            page.go_back()
            expect(names).to_have_count(len(HOSTILE))
        page.locator('a[href^="#/run/"]').first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("</title><script>alert(1)</script>")
        section(page, "Steps").get_by_role("link", name=HOSTILE["HTML"], exact=True).click()
        expect(page.locator(".error")).to_have_text(HOSTILE["HTML"])


def amounts() -> list[int]:
    chance = random.Random(7)
    edges = [10**8, 10**10, 10**12, 10**15]
    near = [edge * factor + by for edge in edges for factor in (1, 2, 5) for by in (-1, 0, 1, -(edge // 2), edge // 2)]
    return [
        0,
        *(each for each in near if 0 <= each < 2**53),
        *(int(10 ** chance.uniform(0, 15.5)) for _ in range(5000)),
    ]


def test_numbers_are_written_as_in_the_terminal(browser):
    chance, counts = random.Random(8), amounts()
    seconds = [0, 0.0005, 0.9994, 0.9995, 9.949, 9.95, 0.25, 1.25, 2.75, 59.5, 60.5, 119.5, 120, 150, 7199, 7200, 8100]
    seconds += [10 ** chance.uniform(-4, 6) for _ in range(3000)]
    parts = [(part, whole) for part, whole in zip(counts, reversed(counts), strict=True) if part <= whole or whole == 0]
    spends = [
        Spend(
            calls=calls, priced_calls=calls - unknown, unknown_calls=unknown, open_calls=in_flight,
            cost_picousd=1_234 * 10**8 * (calls - unknown), estimated_cost_picousd=estimated,
        )
        for calls in (0, 1, 3) for unknown in range(calls + 1) for in_flight in (0, 2) for estimated in (0, 10**10)
    ]  # fmt: skip
    script = base64.b64encode((STATIC / "numbers.js").read_bytes()).decode()
    page = browser.new_page()
    texts = page.evaluate(
        """async ([script, given]) => {
            const numbers = await import(`data:text/javascript;base64,${script}`);
            return Object.fromEntries(Object.entries(given).map(([name, all]) =>
                [name, all.map((each) => numbers[name](...each))]));
        }""",
        [script, {
            "dollars": [[each] for each in counts], "tokens": [[each] for each in counts],
            "duration": [[each] for each in seconds], "percent": parts,
            "costMarks": [[each.to_dict()] for each in spends], "counted": [[each, "call"] for each in counts],
        }],
    )  # fmt: skip
    page.close()
    assert dict(zip(counts, texts["dollars"], strict=True)) == {each: _numbers.dollars(each) for each in counts}
    assert dict(zip(counts, texts["tokens"], strict=True)) == {each: _numbers.tokens(each) for each in counts}
    assert dict(zip(seconds, texts["duration"], strict=True)) == {each: _numbers.duration(each) for each in seconds}
    assert dict(zip(parts, texts["percent"], strict=True)) == {each: _numbers.percent(*each) for each in parts}
    assert [tuple(each) for each in texts["costMarks"]] == [_numbers.cost_marks(each) for each in spends]
    assert texts["counted"] == [_numbers.counted(each, "call") for each in counts]
