"""The index and the journals are plain files: others open them as they are, by the commands of `docs/import-export.md`."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps import Journal
from otel_harn_steps.store import Store
from tests.integration.coexistence.venvs import python_of
from tests.store.rows import ended, settled, started

ENVIRONMENTS = Path(__file__).with_name("environments")
BY_MODEL = {"gpt-5": 0.002, "gpt-5-mini": 0.003}

DUCKDB = """
import duckdb, json, sys
from importlib.resources import files
database, folder = duckdb.connect(), sys.argv[1]
extension = files("duckdb_extension_sqlite_scanner") / "extensions" / f"v{duckdb.__version__}"
database.execute(f"LOAD '{extension / 'sqlite_scanner.duckdb_extension'}'")
database.execute(f"ATTACH '{folder}/index.sqlite' AS steps (TYPE sqlite, READ_ONLY)")
queries = (
    "SELECT model, SUM(cost_picousd::BIGINT) / 1e12 FROM steps.ledger WHERE is_billed = 1 GROUP BY model",
    "SELECT model, SUM(cost_picousd) / 1e12"
    f" FROM read_json('{folder}/*.jsonl', format = 'newline_delimited', union_by_name = true)"
    " WHERE event = 'call_settled' GROUP BY model",
)
print(json.dumps([dict(database.execute(query).fetchall()) for query in queries]))
"""
DATASETTE = """
import asyncio, json, sys
from datasette.app import Datasette

async def main():
    datasette = Datasette([sys.argv[1] + "/index.sqlite"])
    await datasette.invoke_startup()
    sql = "select model, sum(cost_picousd) / 1e12 as usd from ledger where is_billed group by model"
    found = await datasette.client.get("/index.json", params={"sql": sql, "_shape": "array"})
    pages = [await datasette.client.get(f"/index/{view}") for view in ("ledger", "step_runs")]
    print(json.dumps([{row["model"]: row["usd"] for row in found.json()}, [page.status_code for page in pages]]))

asyncio.run(main())
"""


@pytest.fixture
def records(tmp_path):
    """A folder with an index, as `report` leaves it."""
    journal = Journal(tmp_path)
    journal.step_started(started())
    journal.call_settled(settled("1"))
    journal.call_settled(settled("2"))
    journal.call_settled(settled("3", model="gpt-5-mini", cost_picousd=3 * 10**9))
    journal.step_ended(ended())
    journal.close()
    with Store(tmp_path) as store:
        store.update()
    return tmp_path


def said_by(program, records):
    python = python_of("other-tools", ENVIRONMENTS)
    ran = subprocess.run(
        [python, "-c", program, str(records)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_index_opens_in_sqlite_for_reading_alone(records):
    database = sqlite3.connect(f"file:{records / 'index.sqlite'}?mode=ro", uri=True)

    by_model = dict(
        database.execute("SELECT model, SUM(cost_picousd) / 1e12 FROM ledger WHERE is_billed GROUP BY model")
    )
    steps = database.execute("SELECT step, status, calls_with_nested FROM step_runs").fetchall()

    database.close()
    assert by_model == BY_MODEL
    assert steps == [("plan", "completed", 3)]


@pytest.mark.slow
def test_the_index_and_the_journals_open_in_duckdb(records):
    assert said_by(DUCKDB, records) == [BY_MODEL, BY_MODEL]


@pytest.mark.slow
def test_the_index_opens_in_datasette(records):
    assert said_by(DATASETTE, records) == [BY_MODEL, [200, 200]]
