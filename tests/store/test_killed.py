"""`kill -9` at any moment loses nothing that was written."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.store import JournalReader, RunSummary, Store

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_hundred_kills_lose_no_call_that_settled_and_show_every_other_as_open(tmp_path):
    seed = random.randrange(10**9)
    subprocess.run(
        [sys.executable, "-m", "tests.store.busy", str(tmp_path), str(ROUNDS), str(seed)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, check=True, timeout=300,
    )  # fmt: skip
    processes = Counter()
    for each in range(ROUNDS):
        folder, where = tmp_path / str(each), f"round {each} of seed {seed}"
        said = [line.split(" ", 1) for line in (folder / "acknowledged").read_text().splitlines()]
        reader = JournalReader(folder / "journal")
        events = list(reader.poll())
        settled = Counter(event.row.call_id for event in events if event.event == "call_settled")
        summary = RunSummary(events)
        still_open = {call_id for process in summary.processes for call_id in process.open_calls}
        assert reader.damaged_lines == 0, where
        assert set(settled.values()) <= {1}, where
        assert {call_id for what, call_id in said if what == "settled"} <= set(settled), where
        assert {call_id for what, call_id in said if what == "sent"} <= {*settled, *still_open}, where
        assert summary.total.cost_picousd == len(settled) * 10**9, where
        with Store(folder / "journal") as store:
            store.update()
            assert (store.report().total, store.damaged) == (summary.total, []), where
        processes[len(summary.processes)] += 1
    assert max(processes) == 4
