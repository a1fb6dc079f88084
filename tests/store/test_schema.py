"""The published schema says what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from otel_harn_steps import Journal
from tests.store.rows import ended, sent, settled, started

ROOT = Path(__file__).parent.parent.parent


def test_the_schema_is_current():
    done = subprocess.run(
        [sys.executable, "tools/journal_schema.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_line_has_the_fields_that_the_schema_names(tmp_path):
    journal = Journal(tmp_path)
    journal.step_started(started())
    journal.call_sent(sent(1))
    journal.call_settled(settled(1))
    journal.step_ended(ended())
    (path,) = tmp_path.iterdir()
    schema = json.loads((ROOT / "otel_harn_steps" / "store" / "journal.schema.json").read_text())["$defs"]

    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert {line["event"] for line in lines} == {name for name in schema if name.islower()} - {"note"}
    for line in lines:
        assert next(iter(line)) == "event"
        assert sorted(line) == sorted(schema[line["event"]]["required"])
        assert schema[line["event"]]["properties"]["event"] == {"const": line["event"]}
