"""Two runs compared, as the page shows them."""

from __future__ import annotations

import time
from typing import Any

from otel_harn_steps.store import Store, to_json
from otel_harn_steps.store._billed import billed_calls
from otel_harn_steps.store._diff import diff
from otel_harn_steps.store._diff_words import notes_of, reasons_of
from otel_harn_steps.store._views import Filter


def diff_of_runs(store: Store, base: str, head: str) -> dict[str, Any]:
    """What has changed from one run to another, in plain JSON values: as `otel-harn-steps diff --json`, and both runs.

    Raises:
        LookupError: one of them is not there; the message says so.
    """
    runs = [store.run(name).run for name in (base, head)]
    before, after = (billed_calls(store.calls(Filter(run=run.run_id))) for run in runs)
    names = (f"run {runs[0].run_id[:8]}", f"run {runs[1].run_id[:8]}")
    found = diff(before, after, names=names)
    values: dict[str, Any] = to_json(found) | {
        "now": time.time_ns(),
        "base_run": to_json(runs[0]),
        "head_run": to_json(runs[1]),
        "change_share": found.change_share,
        "notes": list(notes_of(found)),
    }
    for row, each in zip(found.rows, values["rows"], strict=True):
        each["reasons"] = reasons_of(row, found)
    return values
