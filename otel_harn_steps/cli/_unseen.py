"""What a run has not seen, and why: from the notes in its journals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otel_harn_steps.cli._notes import CLIENT_PATCHED, CLIENT_UNPATCHED, STARTED, UNSEEN_CALL
from otel_harn_steps.cli._text_table import label
from otel_harn_steps.store import RunSummary
from otel_harn_steps.store._numbers import counted

_MOST_HOSTS: Final = 5


def unseen_requests(notes: Iterable[tuple[Mapping[str, Any], int]]) -> Iterator[str]:
    """The requests that went past every patched client: from the facts of the notes, and how often each was made."""
    for where, count in unseen_hosts(notes)[:_MOST_HOSTS]:
        yield f"! {counted(count, 'request')} to {where}, from no client that is known here: not in this table"


def unseen_hosts(notes: Iterable[tuple[Mapping[str, Any], int]]) -> list[tuple[str, int]]:
    """Where such requests went, and by which library; the most frequent first."""
    requests = Counter[str]()
    for facts, count in notes:
        library = facts.get("library")
        by = "" if library is None else f" by {library}"
        requests[label(f"{facts.get('host', 'a model')}{by}")] += count
    return requests.most_common()


def why_nothing_was_seen(summary: RunSummary) -> Iterator[str]:
    """Why no call was seen. Nothing where one was."""
    if summary.total.calls or summary.total.open_calls or summary.outcomes:
        return
    if UNSEEN_CALL in summary.notes:
        return  # which says it
    patched = _clients(summary, CLIENT_PATCHED)
    unpatched = _clients(summary, CLIENT_UNPATCHED)
    if unpatched:
        yield f"no call was seen: {unpatched} was imported, in a version whose calls cannot be seen"
    elif patched:
        yield f"no call was seen: {patched} was imported, and nothing was called with it"
    elif STARTED in summary.notes:
        yield "no call was seen: the program imported no client library of a model provider that is known here"
    else:
        yield "no call was seen: no Python process of the program could be followed"


def _clients(summary: RunSummary, event: str) -> str:
    return ", ".join(sorted({label(str(facts.get("client"))) for facts, _ in notes_of(summary, event)}))


def notes_of(summary: RunSummary, event: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The facts of the notes of one kind, and how often each was made."""
    for facts, count in summary.notes.get(event, {}).items():
        yield json.loads(facts), count
