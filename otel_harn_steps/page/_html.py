"""The page as a file: all numbers of a filter, and the trees of the most expensive runs."""

from __future__ import annotations

import time
from typing import Final

from otel_harn_steps.page._assembly import page_html, version
from otel_harn_steps.page._overview import context, overview, zone
from otel_harn_steps.store import Store, to_json
from otel_harn_steps.store._views import Filter

MOST_TREES: Final = 20


def report_html(store: Store, filter: Filter | None = None, *, described: str = "") -> str:  # noqa: A002 -- as in Store
    """The report as one HTML file that loads nothing, with its numbers in it.

    Args:
        store: what it is about. `store.update()` is the caller's.
        filter: which calls. None: all.
        described: what stands at the top for the filter, such as "last 7 days, step plan". Empty: its own words.
    """
    asked = Filter() if filter is None else filter
    numbers = overview(store, asked, order="cost")
    dearest = [run["run_id"] for run in numbers["runs"][:MOST_TREES]]
    data = {
        "live": False,
        "version": version(),
        "zone": zone(),
        "filter": described or _words_for(asked),
        "overview": numbers,
        "context": context(store, asked),
        "details": {run_id: to_json(store.run(run_id)) for run_id in dearest},
    }
    return page_html(data, title="harn steps: report", live=False)


def _words_for(asked: Filter) -> str:
    periods = [
        f"{name} {_moment(at)}" for name, at in (("since", asked.since), ("until", asked.until)) if at is not None
    ]
    kinds = ("step", asked.steps), ("agent", asked.agents), ("model", asked.models), ("provider", asked.providers)
    patterns = [f"{name} {each}" for name, given in (*kinds, ("program", asked.programs)) for each in given]
    labels = [f"{name}={value}" for name, value in asked.labels.items()]
    runs = [] if asked.run is None else [f"run {asked.run}"]
    return ", ".join((*periods, *patterns, *labels, *runs)) or "all that is recorded"


def _moment(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ns // 10**9))
