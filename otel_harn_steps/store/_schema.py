"""The tables of the index, and views of them for people: `sqlite3`, Datasette and DuckDB open it as it is."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._telemetry.call_row import BILLED

VERSION: Final = 2
"""Of the tables. An index of an older version is made anew; one of a newer version is refused."""

APPLICATION_ID: Final = 0x6861726E  # "harn", by which `file` and we know it

CALL_COLUMNS: Final = (
    "step", "key", "run", "place", "kind", "labels", "file", "sent_at", "duration_ns", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_picousd", "estimated_tokens",
    "estimated_cost_picousd", "late", "details",
)  # fmt: skip

SPEND_SUMS: Final = {
    "calls": "COUNT(*)",
    "input_tokens": "SUM(COALESCE(input_tokens, 0))",
    "output_tokens": "SUM(COALESCE(output_tokens, 0))",
    "cache_read_tokens": "SUM(cache_read_tokens)",
    "cache_write_tokens": "SUM(cache_write_tokens)",
    "reasoning_tokens": "SUM(reasoning_tokens)",
    "cost_picousd": "SUM(COALESCE(cost_picousd, 0))",
    "priced_calls": "SUM(cost_picousd IS NOT NULL)",
    "unpriced_calls": "SUM(cost_picousd IS NULL AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL))",
    "unmetered_calls": "SUM(input_tokens IS NULL OR output_tokens IS NULL)",
    "unknown_calls": "SUM(cost_picousd IS NULL AND estimated_cost_picousd = 0)",
    "estimated_calls": "SUM(estimated_tokens > 0 OR estimated_cost_picousd > 0)",
    "estimated_tokens": "SUM(estimated_tokens)",
    "estimated_cost_picousd": "SUM(estimated_cost_picousd)",
}
"""The fields of a `Spend`, as sums over calls that are billed. Those in flight are counted elsewhere."""

_SPEND: Final = ", ".join(f"{name} INTEGER NOT NULL" for name in SPEND_SUMS)
_BILLED: Final = ", ".join(f"'{each}'" for each in sorted(BILLED))

SCHEMA: Final = f"""
CREATE TABLE files (  -- one row a journal file: how far it is read, and its process
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, offset INTEGER NOT NULL, line INTEGER NOT NULL,
    run INTEGER, process_id INTEGER, parent_process_id INTEGER, program TEXT, started_at INTEGER, previous TEXT
);
CREATE TABLE run_files (name TEXT PRIMARY KEY, modified_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE damaged (file TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE notes (
    run INTEGER NOT NULL, event TEXT NOT NULL, facts TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (run, event, facts)
) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, name TEXT, program TEXT, process_id INTEGER,
    started_at INTEGER, last_at INTEGER, ended_at INTEGER, exit_code INTEGER, over TEXT,
    limits TEXT NOT NULL DEFAULT '{{}}', source TEXT NOT NULL DEFAULT 'journal', is_described INTEGER NOT NULL DEFAULT 0
);
-- What many rows share is there once: where a call was made, what kind of call it was, and its labels.
CREATE TABLE places (id INTEGER PRIMARY KEY, path TEXT NOT NULL, name TEXT NOT NULL, agent TEXT);
CREATE TABLE kinds (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, operation TEXT NOT NULL, requested_model TEXT, model TEXT,
    outcome TEXT NOT NULL, certainty TEXT NOT NULL, price_book TEXT, terms TEXT NOT NULL
);
CREATE TABLE label_sets (id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE);
CREATE TABLE texts (key INTEGER PRIMARY KEY, id TEXT NOT NULL);  -- ids that are no 16 hex digits
CREATE TABLE steps (
    id INTEGER PRIMARY KEY, key INTEGER NOT NULL UNIQUE, run INTEGER NOT NULL, parent INTEGER, place INTEGER NOT NULL,
    labels INTEGER NOT NULL DEFAULT 0, file INTEGER, started_at INTEGER, ended_at INTEGER, status TEXT, breach TEXT,
    error TEXT, limits TEXT, error_boundary TEXT, detail TEXT, trace_id BLOB, budget_events TEXT,
    calls INTEGER NOT NULL DEFAULT 0, picousd INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0
        -- its calls and those below it, what they cost with estimates, and how many are of unknown cost
);
CREATE INDEX steps_of_a_run ON steps (run);
CREATE INDEX steps_below ON steps (parent) WHERE parent IS NOT NULL;
CREATE INDEX steps_of_a_trace ON steps (trace_id) WHERE trace_id IS NOT NULL;
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, key INTEGER NOT NULL, run INTEGER NOT NULL, step INTEGER, place INTEGER NOT NULL,
    kind INTEGER NOT NULL, labels INTEGER NOT NULL, file INTEGER NOT NULL, sent_at INTEGER NOT NULL,
    duration_ns INTEGER, input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cost_picousd INTEGER,
    estimated_tokens INTEGER NOT NULL, estimated_cost_picousd INTEGER NOT NULL, late INTEGER NOT NULL, details TEXT
);
CREATE UNIQUE INDEX calls_of_a_run ON calls (run, key);  -- the only one: each costs a third of the time of reading
CREATE TABLE open_calls (  -- sent, and not ended
    key INTEGER PRIMARY KEY, run INTEGER NOT NULL, step INTEGER, place INTEGER NOT NULL, kind INTEGER NOT NULL,
    labels INTEGER NOT NULL, file INTEGER NOT NULL, sent_at INTEGER NOT NULL
);
CREATE TABLE spend (  -- calls added up: reports stand on it. Step 0 is none; a quarter is 15 minutes, from 1970
    run INTEGER NOT NULL, step INTEGER NOT NULL, place INTEGER NOT NULL, kind INTEGER NOT NULL,
    labels INTEGER NOT NULL, quarter INTEGER NOT NULL, {_SPEND},
    PRIMARY KEY (run, step, place, kind, labels, quarter)
) WITHOUT ROWID;
CREATE TABLE spend_of_all_runs (  -- the same over all runs and runs of steps
    place INTEGER NOT NULL, kind INTEGER NOT NULL, labels INTEGER NOT NULL, quarter INTEGER NOT NULL, {_SPEND},
    PRIMARY KEY (place, kind, labels, quarter)
) WITHOUT ROWID;

CREATE VIEW ledger AS  -- for people: one row a call, with names and dollars
    SELECT COALESCE(texts.id, printf('%016x', calls.key)) AS call_id, runs.run_id, runs.program,
        places.name AS step, places.path, places.agent, kinds.provider, kinds.operation, kinds.requested_model,
        kinds.model, kinds.outcome, kinds.outcome IN ({_BILLED}) AS is_billed, kinds.certainty, kinds.price_book,
        datetime(calls.sent_at / 1000000000, 'unixepoch') AS sent_at_utc, calls.duration_ns / 1e9 AS duration_s,
        calls.input_tokens, calls.output_tokens, calls.cache_read_tokens, calls.cache_write_tokens,
        calls.reasoning_tokens, calls.cost_picousd, calls.cost_picousd / 1e12 AS cost_usd,
        calls.estimated_tokens, calls.estimated_cost_picousd / 1e12 AS estimated_cost_usd, label_sets.labels
    FROM calls JOIN runs ON runs.id = calls.run JOIN places ON places.id = calls.place
        JOIN kinds ON kinds.id = calls.kind JOIN label_sets ON label_sets.id = calls.labels
        LEFT JOIN texts ON texts.key = calls.key;
CREATE VIEW step_runs AS  -- one row a run of a step
    SELECT COALESCE(texts.id, printf('%016x', steps.key)) AS step_id, runs.run_id, runs.program,
        places.name AS step, places.path, places.agent, steps.status, steps.breach, steps.error,
        datetime(steps.started_at / 1000000000, 'unixepoch') AS started_at_utc,
        (steps.ended_at - steps.started_at) / 1e9 AS duration_s, steps.calls AS calls_with_nested,
        steps.picousd / 1e12 AS usd_with_nested_and_estimates, steps.unknown AS calls_of_unknown_cost,
        label_sets.labels
    FROM steps JOIN runs ON runs.id = steps.run JOIN places ON places.id = steps.place
        JOIN label_sets ON label_sets.id = steps.labels LEFT JOIN texts ON texts.key = steps.key;

INSERT INTO label_sets VALUES (0, '{{}}');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

INCOMING: Final = """
CREATE TEMP TABLE incoming_steps (
    key INTEGER PRIMARY KEY, run INTEGER, parent_key INTEGER, place INTEGER, labels INTEGER, file INTEGER,
    started_at INTEGER, ended_at INTEGER, status TEXT, breach TEXT, error TEXT, limits TEXT, error_boundary TEXT,
    detail TEXT, trace_id BLOB, budget_events TEXT, parent_place INTEGER, is_named INTEGER
);
CREATE TEMP TABLE added AS SELECT *, 0 AS began, 0 AS was_there FROM spend WHERE FALSE;
CREATE TEMP TABLE joined (step INTEGER PRIMARY KEY, calls INTEGER, picousd INTEGER, unknown INTEGER);
CREATE TEMP TABLE moved (step INTEGER PRIMARY KEY, calls INTEGER, picousd INTEGER, unknown INTEGER);
"""
"""What a batch of steps is put into first, the spend of a batch, and spend that is to be added to the steps above."""
