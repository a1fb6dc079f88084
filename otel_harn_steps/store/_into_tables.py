"""How a batch gets from the tables that it was put into first (`INCOMING`) into those of the index, in SQL."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._telemetry.call_row import BILLED
from otel_harn_steps.store._schema import CALL_COLUMNS, SPEND_SUMS
from otel_harn_steps.store._views import QUARTER_NS

_DEEPEST: Final = 500

STEP_COLUMNS: Final = (
    "key", "run", "parent_key", "place", "labels", "file", "started_at", "ended_at", "status", "breach", "error",
    "limits", "error_boundary", "detail", "trace_id", "budget_events", "parent_place", "is_named",
)  # fmt: skip
INSERT_STEP: Final = f"INSERT INTO incoming_steps VALUES ({', '.join('?' * len(STEP_COLUMNS))})"
_OF_ITS_OWN_LINE: Final = ("place", "labels", "file")
_KEPT: Final = (
    "started_at", "ended_at", "status", "breach", "error", "limits", "error_boundary", "detail", "trace_id",
    "budget_events",
)  # fmt: skip

_NEW_STEPS: Final = """
INSERT OR IGNORE INTO steps (key, run, place, labels, file) SELECT key, run, place, labels, file FROM incoming_steps
"""
# A step that is only known from one below it: its own line may be in a file that is read later, or be lost.
_STEPS_ABOVE: Final = """
INSERT OR IGNORE INTO steps (key, run, place, labels, file)
SELECT parent_key, run, parent_place, labels, file FROM incoming_steps
WHERE parent_key IS NOT NULL AND parent_key != key
"""
# What was spent below a step before it became known what is above it.
_MOVED: Final = """
INSERT INTO moved SELECT steps.id, steps.calls, steps.picousd, steps.unknown FROM steps JOIN incoming_steps USING (key)
WHERE steps.parent IS NULL AND parent_key IS NOT NULL AND parent_key != steps.key AND steps.calls > 0
"""
_FACTS: Final = f"""
UPDATE steps SET
    {", ".join(f"{name} = CASE WHEN new.is_named THEN new.{name} ELSE steps.{name} END" for name in _OF_ITS_OWN_LINE)},
    {", ".join(f"{name} = COALESCE(new.{name}, steps.{name})" for name in _KEPT)},
    parent = COALESCE(steps.parent, (
        SELECT above.id FROM steps AS above WHERE above.key = new.parent_key AND new.parent_key != new.key
    ))
FROM incoming_steps AS new WHERE steps.key = new.key
"""
STEPS_INTO_TABLES: Final = (_NEW_STEPS, _STEPS_ABOVE, _MOVED, _FACTS)

STEPS_OF_THE_BATCH: Final = "SELECT steps.key, steps.id FROM steps JOIN incoming_steps USING (key)"

_MARKS: Final = ", ".join("?" * len(CALL_COLUMNS))
INSERT_CALL: Final = f"INSERT OR IGNORE INTO calls ({', '.join(CALL_COLUMNS)}) VALUES ({_MARKS})"
"""A call that is there already, from another journal, is the same call."""
INSERT_OPEN_CALL: Final = """
INSERT OR IGNORE INTO open_calls (step, key, run, place, kind, labels, file, sent_at)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
WHERE NOT EXISTS (SELECT 1 FROM calls WHERE run = ?3 AND key = ?2)
"""

INSERT_FILE: Final = f"INSERT OR REPLACE INTO files VALUES (?{', ?' * 9})"

_NEW_CALLS: Final = "(SELECT * FROM calls WHERE id > ?1)"
_ADDED: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in SPEND_SUMS)
_SPEND: Final = (
    f"SELECT run, COALESCE(step, 0), place, kind, labels, sent_at / {QUARTER_NS}, {', '.join(SPEND_SUMS.values())},"
    " MIN(sent_at), MAX(sent_at + COALESCE(duration_ns, 0)) FROM"
)
_SPEND_COLUMNS: Final = f"run, step, place, kind, labels, quarter, {', '.join(SPEND_SUMS)}"
_OF_ALL: Final = f"SELECT place, kind, labels, quarter, {', '.join(f'SUM({name})' for name in SPEND_SUMS)} FROM"
_RUNS: Final = """
UPDATE runs SET started_at = MIN(COALESCE(started_at, began), began),
    last_at = MAX(COALESCE(last_at, was_there), was_there)
FROM (SELECT run, MIN(began) AS began, MAX(was_there) AS was_there FROM added GROUP BY run) AS calls
WHERE calls.run = runs.id
"""

_IS_BILLED: Final = f"outcome IN ({', '.join(repr(each) for each in sorted(BILLED))})"
_SPENT_BY_STEP: Final = f"""
INSERT INTO joined SELECT step, SUM(calls), SUM(cost_picousd + estimated_cost_picousd), SUM(unknown_calls)
FROM added JOIN kinds ON kinds.id = kind WHERE step > 0 AND {_IS_BILLED} GROUP BY step
"""
_UP: Final = f"""
WITH RECURSIVE up (step, calls, picousd, unknown, depth) AS (
    SELECT {{}}, new.calls, new.picousd, new.unknown, 0 FROM {{}}
    UNION ALL
    SELECT steps.parent, up.calls, up.picousd, up.unknown, depth + 1 FROM up JOIN steps ON steps.id = up.step
    WHERE steps.parent IS NOT NULL AND depth < {_DEEPEST}
)
UPDATE steps SET calls = steps.calls + more.calls, picousd = steps.picousd + more.picousd,
    unknown = steps.unknown + more.unknown
FROM (SELECT step, SUM(calls) AS calls, SUM(picousd) AS picousd, SUM(unknown) AS unknown FROM up GROUP BY step) AS more
WHERE steps.id = more.step
"""
_JOINED_UP: Final = _UP.format("new.step", "joined AS new")
_MOVED_UP: Final = _UP.format(
    "old.parent", "moved AS new JOIN steps AS old ON old.id = new.step WHERE old.parent IS NOT NULL"
)
_NOT_OPEN: Final = """
DELETE FROM open_calls
WHERE EXISTS (SELECT 1 FROM calls WHERE calls.run = open_calls.run AND calls.key = open_calls.key)
"""
ADD_UP_NEW_CALLS: Final = (
    _NOT_OPEN,
    f"INSERT INTO added {_SPEND} {_NEW_CALLS} GROUP BY 1, 2, 3, 4, 5, 6",
    _RUNS,
    f"INSERT INTO spend SELECT {_SPEND_COLUMNS} FROM added WHERE TRUE ON CONFLICT DO UPDATE SET {_ADDED}",
    f"INSERT INTO spend_of_all_runs {_OF_ALL} added WHERE TRUE GROUP BY 1, 2, 3, 4 ON CONFLICT DO UPDATE SET {_ADDED}",
    _SPENT_BY_STEP,
)
"""With the highest number that a call had before the batch."""
SPEND_UP_THE_TREE: Final = (_JOINED_UP, _MOVED_UP)

ADD_UP_ALL_RUNS: Final = (
    "DELETE FROM spend_of_all_runs",
    f"INSERT INTO spend_of_all_runs {_OF_ALL} spend GROUP BY 1, 2, 3, 4",
)
