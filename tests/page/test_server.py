"""The page is served to this machine, or to who has the token, with the numbers of the ledger."""

from __future__ import annotations

import asyncio
import csv
import io

import pytest
from starlette.testclient import TestClient

from otel_harn_steps import Journal
from otel_harn_steps._telemetry.journal_lines import JournalHeader, header_line
from otel_harn_steps.page._server import page_app
from otel_harn_steps.store import Store
from tests.page.records import calls_of
from tests.store.rows import settled

HERE = "http://127.0.0.1:8765"
ANYWHERE = "http://steps.example:8765"


def client_of(store, token=None, base_url=HERE):
    return TestClient(page_app(store, token=token), base_url=base_url, follow_redirects=False)


@pytest.fixture
def client(store):
    return client_of(store)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "127.0.0.1"])
def test_a_loopback_name_is_answered(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8765", "", "[::2]", "0.0.0.0"]
)
@pytest.mark.parametrize("path", ["/", "/api/report", "/events"])
def test_a_name_that_was_pointed_here_is_refused(client, host, path):
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "$" not in answer.text


def test_with_a_token_nothing_is_answered_without_it(store):
    client = client_of(store, "sesame", ANYWHERE)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic sesame"},
        {"Cookie": "otel_harn_steps_8765=sesame"},
    ):
        assert client.get("/api/report", headers=headers).status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get("/api/report", headers={"Authorization": "Bearer sesame"}).status_code == 200


def test_the_token_of_the_first_address_becomes_a_cookie(store):
    client = client_of(store, "sesame", ANYWHERE)
    first = client.get("/?token=sesame&x=1")
    assert (first.status_code, first.headers["location"]) == (303, "/?x=1")
    assert "httponly" in first.headers["set-cookie"].lower()
    assert "sesame" not in first.headers["set-cookie"]
    assert client.get("/api/report").status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/report", "/api/report?format=csv", "/nothing"])
def test_what_is_served_is_not_kept_and_not_framed(client, path):
    headers = client.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


def test_nothing_can_be_changed(client):
    assert {client.request(method, "/api/report").status_code for method in ("POST", "PUT", "DELETE", "OPTIONS")} == {
        405
    }


@pytest.mark.parametrize("by", ["step", "model", "program", "day", "run"])
def test_the_totals_equal_the_ledger(client, records, by):
    rows = list(calls_of(records))
    report = client.get(f"/api/report?by={by}").json()
    for field in ("cost_picousd", "estimated_cost_picousd"):
        of_ledger = sum(getattr(each, field) or 0 for each in rows)
        assert report["total"][field] == of_ledger
        assert sum(row["spend"][field] for row in report["rows"]) == of_ledger


def test_a_series_and_the_runs_add_up_to_the_ledger(client, records):
    spent = sum((each.cost_picousd or 0) + each.estimated_cost_picousd for each in calls_of(records))
    series = client.get("/api/series?since=all").json()
    assert sum(sum(values) for values in series["values"]) == spent
    runs = client.get("/api/runs?limit=10000").json()
    assert sum(run["spend"]["cost_picousd"] + run["spend"]["estimated_cost_picousd"] for run in runs) == spent


def test_a_run_is_found_by_the_beginning_of_its_id(client):
    run_id = client.get("/api/runs?order=cost&limit=1").json()[0]["run_id"]
    assert client.get(f"/api/run/{run_id[:6]}").json()["run"]["run_id"] == run_id
    missing = client.get("/api/run/ffff0000ffff")
    assert missing.status_code == 404
    assert missing.json()["error"]


@pytest.mark.parametrize("query", ["since=soon", "label=x", "by=nothing", "by="])
def test_what_cannot_be_read_is_named(client, query):
    answer = client.get(f"/api/report?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("query", ["order=best", "limit=many"])
def test_an_order_of_runs_that_is_none_is_named(client, query):
    assert client.get(f"/api/runs?{query}").status_code == 400


def test_a_filter_means_the_same_for_all_views(client, records):
    rows = [each for each in calls_of(records) if each.step == "retrieve" and each.outcome in {"answered", "cut"}]
    asked = "step=retrieve&program=research*&label=revision=4f1c2d9"
    spent = sum(each.cost_picousd or 0 for each in rows if each.labels["revision"] == "4f1c2d9")
    assert client.get(f"/api/report?{asked}").json()["total"]["cost_picousd"] == spent
    assert client.get(f"/api/overview?{asked}").json()["steps"]["total"]["cost_picousd"] == spent
    assert client.get(f"/api/context?{asked}").json()["models"]["total"]["cost_picousd"] == spent


def test_a_filter_can_be_set_to_every_name_of_its_period(client, records):
    rows = list(calls_of(records))
    found = client.get("/api/choices?step=plan").json()
    assert set(found["step"]) == {each.step for each in rows if each.step_id}
    assert set(found["model"]) == {each.model for each in rows}
    assert "research_agent.py" in found["program"]


@pytest.mark.parametrize("path", ["/api/report?by=step", "/api/report?by=model", "/api/runs?limit=10000"])
def test_a_table_can_be_had_as_csv_with_the_same_numbers(client, path):
    answer = client.get(path)
    rows = answer.json() if "runs" in path else answer.json()["rows"]
    table = list(csv.DictReader(io.StringIO(client.get(f"{path}&format=csv").text)))
    assert [int(each["spend.cost_picousd"]) for each in table] == [each["spend"]["cost_picousd"] for each in rows]
    assert client.get(f"{path}&format=csv").headers["content-type"].startswith("text/csv")


def test_two_runs_are_compared_to_the_pico_dollar(client):
    runs = [each for each in client.get("/api/runs?limit=100").json() if each["program"] == "research_agent.py"]
    base, head = runs[-1], runs[-2]
    found = client.get(f"/api/diff?a={base['run_id'][:8]}&b={head['run_id']}").json()
    spent = [each["spend"]["cost_picousd"] + each["spend"]["estimated_cost_picousd"] for each in (base, head)]
    assert found["total"]["change_picousd"] == spent[1] - spent[0]
    assert sum(row["change_picousd"] for row in found["rows"]) == spent[1] - spent[0]
    assert all(row["reasons"] for row in found["rows"] if row["change_picousd"])
    assert client.get(f"/api/diff?a={base['run_id']}&b=ffff0000").status_code == 404
    assert client.get("/api/diff").status_code == 404


def test_a_series_and_the_calls_of_a_run_can_be_had_as_csv(client):
    series = client.get("/api/series").json()
    table = list(csv.DictReader(io.StringIO(client.get("/api/series?format=csv").text)))
    assert len(table) == len(series["keys"]) * len(series["buckets"])
    run = client.get("/api/runs?limit=1").json()[0]
    calls = list(csv.DictReader(io.StringIO(client.get(f"/api/run/{run['run_id']}?format=csv").text)))
    assert {each["run_id"] for each in calls} == {run["run_id"]}


def test_a_spreadsheet_does_not_take_a_name_for_a_formula(tmp_path):
    journal = Journal(tmp_path)
    journal.call_settled(settled("1", step='=HYPERLINK("http://evil.example")', path="=x"))
    journal.close()
    with Store(tmp_path) as store:
        rows = list(csv.DictReader(io.StringIO(client_of(store).get("/api/report?format=csv").text)))
    assert rows[0]["key"] == '\'=HYPERLINK("http://evil.example")'


def test_a_damaged_line_is_named_and_the_rest_is_read(tmp_path):
    journal = Journal(tmp_path)
    journal.call_settled(settled("1"))
    journal.close()
    with next(tmp_path.glob("*.jsonl")).open("a") as file:
        file.write('{"event":"call_settled","call_id":')
        file.write("\n")
    with Store(tmp_path) as store:
        found = client_of(store).get("/api/overview").json()
    assert found["steps"]["total"]["calls"] == found["steps"]["damaged"] == len(found["damaged"]) == 1


def test_what_is_new_is_in_the_next_answer(tmp_path):
    with Store(tmp_path) as store:
        client = TestClient(page_app(store, looks_every_s=0), base_url=HERE)
        assert client.get("/api/overview").json()["any"] is False
        journal = Journal(tmp_path)
        journal.call_settled(settled("1"))
        assert client.get("/api/overview").json()["steps"]["total"]["cost_picousd"] == 10**9
        journal.close()


async def test_an_event_is_sent_when_something_has_changed_and_only_then(tmp_path):
    journal, sent, looks = Journal(tmp_path), [], []
    journal.call_settled(settled("1"))

    def is_stopping():
        looks.append(1)
        if len(looks) == 3:
            journal.call_settled(settled("2"))
        return len(looks) == 6

    async def send(message):
        sent.append(message)

    async def receive():
        return await asyncio.Future()

    with Store(tmp_path) as store:
        app = page_app(store, is_stopping=is_stopping, looks_every_s=0.001)
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": "/events", "raw_path": b"/events",
            "query_string": b"", "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
            "server": ("localhost", 80), "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        await app(scope, receive, send)
    journal.close()
    events = b"".join(each.get("body", b"") for each in sent).decode()
    assert events.count("event: page") == 1
    assert events.count("event: change") == 1


def test_a_journal_of_a_newer_version_is_an_error_that_names_it(tmp_path):
    header = JournalHeader(
        version=99, run_id="a", run_name=None, process_id=1, parent_process_id=1, program="app", started_at=1,
        package_version="9", python_version="3",
    )  # fmt: skip
    (tmp_path / "a-1-new.jsonl").write_text(f"{header_line(header)}\n")
    with Store(tmp_path) as store:
        answer = client_of(store).get("/api/overview")
    assert answer.status_code == 500
    assert "a-1-new.jsonl" in answer.json()["error"]
