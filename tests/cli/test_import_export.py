"""`otel-harn-steps import` and `export`, as they are typed."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps import Journal
from otel_harn_steps.cli._command import main
from otel_harn_steps.store import Store
from tests.store.imports.sources import SESSION, answer, meta, tokens, turn, used, write_lines
from tests.store.rows import ended, settled, started

FILES = Path(__file__).parent.parent / "store" / "imports" / "files"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def command(records, capfdbinary):
    """Runs a command on the records. Returns its exit code, and what it has printed and complained of."""

    def run(*words):
        code = main([*map(str, words), "--records", str(records)])
        said = capfdbinary.readouterr()
        return code, said.out.decode(), said.err.decode()

    return run


@pytest.fixture
def filled(records):
    """Records with a step, whose names are of every kind."""
    journal = Journal(records)
    labels = {"tenant": "=HYPERLINK(1)"}
    journal.step_started(started(max_usd=1.5, labels=labels))
    journal.call_settled(settled("1", labels=labels, agent="@agent", terms={"service_tier": "flex"}))
    journal.call_settled(settled("2", cost_picousd=None, input_tokens=None, model="=1+1", provider="-x"))
    journal.call_settled(settled("3", "draft", sent_at=1_700_000_000_000_000_000))
    journal.step_ended(ended(breach="max_usd", error="+boom", max_usd=1.5, budget_events=("notified:0.5",)))
    journal.close()


# -- import --------------------------------------------------------------------------------------------------------------


def test_each_file_says_what_it_is(command):
    code, out, err = command("import", "auto", FILES)

    assert (code, err) == (0, "")
    assert out.startswith("4 runs (4 new): 7 steps, 13 calls, $0.0")
    assert command("import", "auto", FILES)[1].startswith("4 runs (4 as they were): 7 steps, 13 calls, $0.0")


def test_what_was_imported_as_json(command):
    code, out, _ = command("import", "codex", FILES, "--json")

    report = json.loads(out)
    assert code == 0
    assert {name: report[name] for name in ("new", "calls", "steps", "damaged")} == {
        "new": 1,
        "calls": 3,
        "steps": 2,
        "damaged": [],
    }


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("claude-code", f"projects/-home-me-shop/{SESSION}.jsonl"),
        ("codex", "sessions/2026/05/01/rollout-a.jsonl"),
    ],
)
def test_the_logs_of_a_tool_are_where_it_keeps_them(command, tmp_path, monkeypatch, kind, place):
    for variable in ("CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    counted = used(10, 5)
    lines = (
        [answer("msg_1")] if kind == "claude-code" else [meta("a"), turn("gpt-5"), tokens("10:00:02", counted, counted)]
    )
    write_lines(tmp_path / "home" / place, lines)

    assert command("import", kind)[1].startswith("1 run (1 new): 1 step, 1 call, ")


def test_what_could_not_be_read_and_what_has_no_price_is_said(command, tmp_path):
    log = write_lines(tmp_path / f"{SESSION}.jsonl", [answer("msg_1", model="glm-99"), '{"sessionId'])

    code, out, err = command("import", "claude-code", log)

    assert code == 0
    assert out == "1 run (1 new): 1 step, 1 call, $0?\n"
    assert err.splitlines() == [
        f"otel-harn-steps: a line is left out, 1 of 1: {log}:2: is no JSON",
        "otel-harn-steps: no price is known for glm-99: what they cost is unknown",
    ]


def test_less_of_a_run_than_the_records_have_is_left_out_with_exit_code_1(command, tmp_path):
    log = write_lines(tmp_path / f"{SESSION}.jsonl", [answer("msg_1"), answer("msg_2")])
    command("import", "claude-code", log)
    write_lines(log, [answer("msg_2")])

    code, out, err = command("import", "claude-code", log)

    assert (code, out) == (1, "nothing to import\n")
    assert "1 run left out, of which the records have what these files do not have" in err


@pytest.mark.parametrize(
    ("kind", "content", "complaint"),
    [
        ("auto", '{"a": 1}\n', "is nothing that can be imported: none of records, calls, otlp, claude-code, codex"),
        ("codex", json.dumps(answer("msg_1")), "is of the kind claude-code: not codex"),
        ("auto", '{"event": "journal"}\n', "It is a journal: put it into the records folder as it is"),
        ("otlp", '{"resourceMetrics": []}\n', "It has metrics or logs; only traces have steps and calls"),
        ("elsewhere", "", "'elsewhere' cannot be imported; what can: auto, records, calls, otlp, claude-code, codex"),
    ],
)
def test_a_file_of_another_kind_is_refused(command, tmp_path, kind, content, complaint):
    file = tmp_path / "file.jsonl"
    file.write_text(content)

    code, out, err = command("import", kind, file)

    assert (code, out) == (2, "")
    assert complaint in err
    assert [path.name for path in tmp_path.iterdir()] == ["file.jsonl"]


def test_a_file_that_is_not_there_is_an_error(command, tmp_path):
    assert command("import", "auto", tmp_path / "none.jsonl")[::2] == (
        2,
        f"otel-harn-steps: {tmp_path / 'none.jsonl'} is not there\n",
    )


def test_kinds_without_a_folder_of_their_own_need_files(command):
    assert "name files or folders" in command("import", "otlp")[2]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(command, records):
    records.mkdir(mode=0o500)

    assert command("import", "codex", FILES)[0] == 2


# -- export --------------------------------------------------------------------------------------------------------------


def test_calls_as_json_lines_are_the_rows_of_the_ledger(command, filled, records):
    code, out, err = command("export")

    with Store(records) as store:
        store.update()
        rows = [row.to_dict() for row in store.calls()]
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == rows
    assert {row["call_id"] for row in rows} == {"1", "2", "3"}


def test_steps_as_json_lines(command, filled):
    _, out, _ = command("export", "--what", "steps")

    found = [json.loads(line) for line in out.splitlines()]
    assert [
        (each["name"], each["status"], each["own"]["calls"], each["own"]["cost_usd"])
        for each in sorted(found, key=lambda each: each["name"])
    ] == [
        ("draft", "running", 1, 0.001),  # by its call alone: this process is at work
        ("plan", "completed", 2, 0.001),
    ]


def test_only_what_a_filter_lets_through(command, filled):
    assert len(command("export", "--step", "draft")[1].splitlines()) == 1
    assert len(command("export", "--since", "2026-01-01")[1].splitlines()) == 2
    assert command("export", "--since", "sometime")[0] == 2


def test_calls_as_csv(command, filled):
    code, out, _ = command("export", "--format", "csv")

    rows = {row["call_id"]: row for row in csv.DictReader(io.StringIO(out))}
    assert code == 0
    assert (rows["1"]["cost_picousd"], rows["1"]["cost_usd"]) == ("1000000000", "0.001")
    assert rows["1"]["sent_at_utc"] == "2026-09-21T14:13:20.000000Z"
    assert json.loads(rows["1"]["labels"]) == {"tenant": "=HYPERLINK(1)"}
    assert (rows["2"]["cost_usd"], rows["2"]["input_tokens"]) == ("", "")
    assert rows["2"]["late"] == "false"


def test_no_cell_is_a_formula(command, filled):
    _, calls, _ = command("export", "--format", "csv")
    _, steps, _ = command("export", "--format", "csv", "--what", "steps")

    cells = [cell for text in (calls, steps) for row in csv.reader(io.StringIO(text)) for cell in row]
    assert {"'=1+1", "'-x", "'@agent", "'+boom"} <= set(cells)
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []


def test_steps_as_csv(command, filled):
    _, out, _ = command("export", "--format", "csv", "--what", "steps")

    row, _ = sorted(csv.DictReader(io.StringIO(out)), key=lambda each: each["name"], reverse=True)
    assert {name: row[name] for name in ("name", "breach", "own_calls", "own_cost_usd", "total_calls")} == {
        "name": "plan",
        "breach": "max_usd",
        "own_calls": "2",
        "own_cost_usd": "0.001",
        "total_calls": "2",
    }
    assert json.loads(row["limits"]) == {"max_usd": 1.5}
    assert json.loads(row["budget_events"]) == ["notified:0.5"]


def test_a_file_is_there_when_it_is_whole(command, filled, tmp_path):
    out = tmp_path / "calls.csv"

    code, said, _ = command("export", "--out", out)

    assert (code, said) == (0, "")
    assert out.read_text().startswith("call_id,run_id,")  # as its ending says
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["calls.csv"]
    assert stat.S_ISREG(out.stat().st_mode)
    code, _, err = command("export", "--out", tmp_path / "no folder" / "calls.csv")
    assert code == 2
    assert "No such file or directory" in err


def test_parquet_is_written_to_a_file_alone(command, filled):
    code, out, err = command("export", "--format", "parquet")

    assert (code, out) == (2, "")
    assert "--out FILE" in err


def test_parquet_without_its_extra_says_what_to_install(command, filled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    code, _, err = command("export", "--out", tmp_path / "calls.parquet")

    assert code == 2
    assert "pip install 'otel-harn-steps[parquet]'" in err
    assert not list(tmp_path.glob("calls.parquet*"))


def test_calls_and_steps_as_parquet(command, filled, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    command("export", "--out", tmp_path / "calls.parquet")
    command("export", "--what", "steps", "--out", tmp_path / "steps.parquet")

    calls = {row["call_id"]: row for row in parquet.read_table(tmp_path / "calls.parquet").to_pylist()}
    step = next(each for each in parquet.read_table(tmp_path / "steps.parquet").to_pylist() if each["name"] == "plan")

    assert (calls["1"]["cost_picousd"], calls["1"]["cost_usd"], calls["2"]["cost_usd"]) == (10**9, 0.001, None)
    assert dict(calls["1"]["labels"]) == {"tenant": "=HYPERLINK(1)"}
    assert calls["1"]["sent_at_utc"].isoformat() == "2026-09-21T14:13:20+00:00"
    assert (calls["1"]["late"], calls["2"]["model"]) == (False, "=1+1")
    assert (step["own_calls"], step["limits"], step["budget_events"]) == (2, '{"max_usd": 1.5}', ["notified:0.5"])


def test_what_is_exported_is_imported_as_it_was(command, filled, tmp_path):
    command("export", "--out", tmp_path / "calls.jsonl")

    assert main(["import", "calls", str(tmp_path / "calls.jsonl"), "--records", str(tmp_path / "other")]) == 0

    totals = []
    for folder in ("records", "other"):
        with Store(tmp_path / folder) as store:
            store.update()
            totals.append(store.report().total.to_dict())
    assert totals[0] == totals[1]
