"""The report is one file with everything in it, whatever names the user chose."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from otel_harn_steps import Journal
from otel_harn_steps.page import report_html
from otel_harn_steps.store import Filter, Store
from tests.page.names import HOSTILE
from tests.page.records import calls_of
from tests.store.rows import ended, settled, started


class Page(HTMLParser):
    """What is in a page: its elements, and the data that it brings."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.data, self._in_data = [], "", False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_data = tag == "script" and dict(attrs).get("id") == "data"

    def handle_endtag(self, tag):
        self._in_data = False

    def handle_data(self, data):
        self.data += data if self._in_data else ""


def test_it_loads_nothing_and_may_not(store):
    page = Page(report_html(store))
    loaded = [attributes[name] for _tag, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert [each for each in loaded if not each.startswith(("#", "data:"))] == []
    policy = next(
        attributes["content"]
        for _tag, attributes in page.elements
        if attributes.get("http-equiv", "").startswith("Content")
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy


def test_its_total_is_that_of_the_ledger(store, records):
    rows = list(calls_of(records))
    total = json.loads(Page(report_html(store)).data)["overview"]["steps"]["total"]
    assert total["cost_picousd"] == sum(each.cost_picousd or 0 for each in rows)
    assert total["estimated_cost_picousd"] == sum(each.estimated_cost_picousd for each in rows)
    assert total["calls"] == sum(each.outcome in {"answered", "cut"} for each in rows)
    assert total["unknown_calls"] > 0


def test_it_has_the_trees_of_the_most_expensive_runs(store):
    data = json.loads(Page(report_html(store)).data)
    dearest = [each["run_id"] for each in data["overview"]["runs"][:20]]
    assert list(data["details"]) == dearest
    assert all(each["steps"] and each["calls"] for each in data["details"].values())


def test_it_is_of_what_the_filter_lets_through(store):
    data = json.loads(Page(report_html(store, Filter(steps=("plan",)), described="step plan")).data)
    assert [each["key"] for each in data["overview"]["steps"]["rows"]] == ["plan"]
    assert data["filter"] == "step plan"


def test_it_says_what_it_is_of(store):
    asked = Filter(since=0, steps=("plan", "re*"), labels={"revision": "4f1c2d9"})
    assert json.loads(Page(report_html(store, asked)).data)["filter"].endswith(
        ", step plan, step re*, revision=4f1c2d9"
    )
    assert json.loads(Page(report_html(store)).data)["filter"] == "all that is recorded"


def test_an_empty_store_gives_a_page_too(tmp_path):
    with Store(tmp_path) as empty:
        assert json.loads(Page(report_html(empty)).data)["overview"]["any"] is False


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_data_and_nothing_else(name, tmp_path):
    journal = Journal(tmp_path, run_id="0123456789abcdef", run_name=name)
    journal.step_started(started(step_id="1", name=name, path=name))
    journal.call_settled(settled("1", step_id="1", step=name, path=name, model=name, agent=name))
    journal.step_ended(ended(step_id="1", name=name, path=name, status="failed", error=name))
    journal.close()
    with Store(tmp_path) as store:
        store.update()
        html = report_html(store)
    page = Page(html)
    assert [tag for tag, _attributes in page.elements].count("script") == 3
    assert "img" not in [tag for tag, _attributes in page.elements]
    data = json.loads(page.data)
    assert [each["name"] for each in data["overview"]["steps"]["rows"]] == [name]
    assert data["details"]["0123456789abcdef"]["steps"][0]["error"] == name[:1000]
    assert not re.search(r"<(?!/?script|/?style|!)", page.data)
