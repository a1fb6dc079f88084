"""Calls, as the index has them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import BILLED, CallRow
from otel_harn_steps.store._selection import Selection
from otel_harn_steps.store._views import Filter

OPEN: Final = frozenset({"open"})
_EVERY: Final = frozenset({*BILLED, "failed", "refused", "void", "open"})


class Calls:
    """The calls that a filter lets through."""

    def __init__(self, database: sqlite3.Connection, chosen: Filter) -> None:
        self._database = database
        self._selection = Selection(database, chosen)

    def rows(self) -> Iterator[CallRow]:
        """Every call, also those that are not billed and those in flight, in the order in which they were sent."""
        where = self._selection.where(time="sent_at", outcomes=_EVERY, prefix="calls.")
        open_where = self._selection.where(time="sent_at", outcomes=OPEN, prefix="calls.")
        facts = ", ".join(f"calls.{name}" for name in _FACTS_OF_CALL)
        missing = ", ".join({"sent_at": "calls.sent_at"}.get(name, "NULL") for name in _FACTS_OF_CALL)
        query = f"""
            SELECT {{}}, {_IDS_OF_CALL} FROM {{}} AS calls {_JOINS_OF_CALL} WHERE {{}}
        """
        rows = self._database.execute(
            query.format(facts, "calls", where)
            + " UNION ALL "
            + query.format(missing, "open_calls", open_where)
            + f" ORDER BY {1 + _FACTS_OF_CALL.index('sent_at')}"
        )
        for row in rows:
            yield self._call(row)

    def _call(self, row: tuple[Any, ...]) -> CallRow:
        values = dict(zip(_FACTS_OF_CALL, row, strict=False))
        key, text, run_id, step_key, step_text, parent_key, parent_text, place, kind, labels = row[
            len(_FACTS_OF_CALL) :
        ]
        where, what = self._selection.places[place], self._selection.kinds[kind]
        details = values.pop("details")
        known = {name: value for name, value in values.items() if value is not None}
        return CallRow(
            call_id=id_of(key, text),
            run_id=run_id,
            step_id=None if step_key is None else id_of(step_key, step_text),
            parent_id=None if parent_key is None else id_of(parent_key, parent_text),
            step=where.name,
            path=where.path,
            agent=where.agent,
            labels=self._selection.label_sets[labels],
            provider=what.provider,
            operation=what.operation,
            requested_model=what.requested_model,
            outcome=what.outcome,  # type: ignore[arg-type]  # the journal's word
            model=what.model,
            certainty=what.certainty,  # type: ignore[arg-type]  # as above
            price_book=what.price_book,
            terms=json.loads(what.terms),
            details={} if details is None else json.loads(details),
            late=bool(known.pop("late", False)),
            **known,
        )


def id_of(key: int, text: str | None) -> str:
    """The id of a key: the text that was kept for it, or else its 16 hex digits."""
    return text if text is not None else f"{key & 0xFFFF_FFFF_FFFF_FFFF:016x}"


_FACTS_OF_CALL: Final = (
    "sent_at", "duration_ns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_picousd", "estimated_tokens", "estimated_cost_picousd", "late", "details",
)  # fmt: skip
_IDS_OF_CALL: Final = (
    "calls.key, texts.id, runs.run_id, steps.key, step_texts.id, above.key, above_texts.id, calls.place, calls.kind,"
    " calls.labels"
)
_JOINS_OF_CALL: Final = """
    JOIN runs ON runs.id = calls.run LEFT JOIN texts ON texts.key = calls.key
    LEFT JOIN steps ON steps.id = calls.step LEFT JOIN texts AS step_texts ON step_texts.key = steps.key
    LEFT JOIN steps AS above ON above.id = steps.parent LEFT JOIN texts AS above_texts ON above_texts.key = above.key
"""
