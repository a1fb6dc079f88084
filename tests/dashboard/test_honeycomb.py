"""The script that makes the Honeycomb board, against a stand-in for Honeycomb's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from otel_harn_steps.dashboard import honeycomb

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "hcxik_01testtesttesttesttesttesttest"
BOARD_URL = "https://ui.honeycomb.io/team/environments/test/board/b-1"


class StandIn:
    """Answers as Honeycomb does, and keeps what it was asked."""

    def __init__(self):
        self.received, self.refuse = [], {}
        self.refuses, self.refusal = (lambda _: False), None
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand_in.received.append((self.path, dict(self.headers.items()), body))
                good = (201, {}, stand_in.answer(self.path))
                status, headers, answer = (
                    stand_in.refusal if stand_in.refuses(body) else stand_in.refuse.get(self.path, good)
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            do_GET = do_POST  # noqa: N815 -- what http.server looks for

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path):
        answer = {"id": f"{path.split('/')[2]}-{len(self.received)}"}
        return {**answer, "links": {"board_url": BOARD_URL}} if path == "/1/boards" else answer


@pytest.fixture
def api():
    stand_in = StandIn()
    threading.Thread(target=stand_in.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield stand_in
    stand_in.server.shutdown()
    stand_in.server.server_close()


def run(*arguments, key=KEY):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HONEYCOMB")},
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        **({"HONEYCOMB_API_KEY": key} if key else {}),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "otel_harn_steps.dashboard.honeycomb", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert KEY not in ran.stdout + ran.stderr
    return ran


def test_the_board_is_made_of_queries_with_titles(api):
    ran = run("--create", "--endpoint", api.url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"Created: {BOARD_URL}\n", "")

    planned = honeycomb.board()["panels"]
    assert [path for path, _, _ in api.received] == [
        *("/1/queries/__all__", "/1/query_annotations/__all__") * len(planned),
        "/1/boards",
    ]
    bodies = [body for _, _, body in api.received]
    assert bodies[0:-1:2] == [panel["query"] for panel in planned]
    assert bodies[1:-1:2] == [
        {"name": panel["title"], "description": panel["description"], "query_id": f"queries-{2 * index + 1}"}
        for index, panel in enumerate(planned)
    ]
    assert bodies[-1] == {
        "name": "Step spend",
        "description": honeycomb.board()["description"],
        "type": "flexible",
        "layout_generation": "manual",
        "panels": [
            {
                "type": "query",
                "position": panel["position"],
                "query_panel": {
                    "query_id": f"queries-{2 * index + 1}",
                    "query_annotation_id": f"query_annotations-{2 * index + 2}",
                    "query_style": panel["style"],
                },
            }
            for index, panel in enumerate(planned)
        ],
    }


def test_every_request_carries_the_key_and_says_that_it_is_json(api):
    run("--create", "--endpoint", api.url)
    assert {(headers["X-Honeycomb-Team"], headers["Content-Type"]) for _, headers, _ in api.received} == {
        (KEY, "application/json")
    }


def test_a_dataset_of_its_own_is_part_of_the_path(api):
    run("--create", "--endpoint", api.url, "--dataset", "my agents/1")
    assert {path for path, _, _ in api.received} == {
        "/1/queries/my%20agents%2F1",
        "/1/query_annotations/my%20agents%2F1",
        "/1/boards",
    }


def test_without_create_nothing_is_sent_and_everything_is_shown(api):
    ran = run("--endpoint", api.url)
    assert ran.returncode == 0
    assert api.received == []
    assert ran.stdout.count("POST /1/queries/__all__") == ran.stdout.count("POST /1/query_annotations/__all__") == 17
    assert "Nothing was sent" in ran.stdout


def test_without_a_key_nothing_is_sent_and_the_variable_is_named(api):
    ran = run("--create", "--endpoint", api.url, key=None)
    assert ran.returncode == 2
    assert "HONEYCOMB_API_KEY" in ran.stderr
    assert api.received == []


def test_a_refusal_is_told_without_the_key(api):
    api.refuse["/1/boards"] = (401, {}, {"error": f"unknown API key {KEY}"})
    ran = run("--create", "--endpoint", api.url)
    assert ran.returncode == 1
    assert ran.stderr.startswith("POST /1/boards: 401 ")
    assert "unknown API key ..." in ran.stderr


@pytest.mark.parametrize("status", [400, 422])
def test_a_panel_over_a_column_that_is_not_there_is_left_out_and_named(status, api):
    planned = honeycomb.board()["panels"]
    unknown = next(each for each in planned if each["title"] == "Budget breaches")
    api.refuses = lambda body: body == unknown["query"]
    api.refusal = (status, {}, {"error": "unknown column harn.step.budget.exceeded"})
    ran = run("--create", "--endpoint", api.url)
    assert (ran.returncode, ran.stdout) == (0, f"Created: {BOARD_URL}\n")
    assert ran.stderr.startswith("Left out: Budget breaches. POST /1/queries/__all__: ")
    assert "unknown column" in ran.stderr
    assert len(api.received[-1][2]["panels"]) == len(planned) - 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status, api):
    api.refuse["/1/queries/__all__"] = (status, {"Location": f"{api.url}/elsewhere"}, {})
    ran = run("--create", "--endpoint", api.url)
    assert ran.returncode == 1
    assert [path for path, _, _ in api.received] == ["/1/queries/__all__"]


def test_the_key_does_not_travel_in_the_clear():
    ran = run("--create", "--endpoint", "http://api.honeycomb.io")
    assert (ran.returncode, ran.stderr) == (1, "not an https address: http://api.honeycomb.io\n")


@pytest.mark.parametrize(
    ("region", "url"), [("us", "https://api.honeycomb.io"), ("eu", "https://api.eu1.honeycomb.io")]
)
def test_both_regions_are_known(region, url, monkeypatch):
    asked = []
    monkeypatch.setenv("HONEYCOMB_API_KEY", KEY)
    monkeypatch.setattr(
        honeycomb, "poster", lambda endpoint, key: asked.append((endpoint, key)) or (lambda *_: {"id": "x"})
    )
    assert honeycomb.main(["--create", "--endpoint", region]) == 0
    assert asked == [(url, KEY)]
