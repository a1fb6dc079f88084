"""What a run has cost, read from its journals when the program has ended."""

from __future__ import annotations

import json
from typing import TextIO

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._folder import RunTerms
from otel_harn_steps.cli._table import FinishedRun, print_run
from otel_harn_steps.store import JournalReader, RunSummary


def report(terms: RunTerms, finished: tuple[int, float], result: TextIO | None, *, with_table: bool) -> None:
    """Print the table, and write the result of `--json`."""
    code, duration_s = finished
    reader = JournalReader(terms.journal, run_id=terms.run_id)
    summary = RunSummary(reader.poll())
    for each in reader.damaged[:3]:
        complain(f"a line of the journal is left out: {each}")
    if result is not None:
        facts = {
            "run_id": terms.run_id,
            "program": terms.run_name,
            "exit_code": code,
            "duration_s": round(duration_s, 3),
            **summary.to_dict(),
            "damaged_lines": reader.damaged_lines,
        }
        with result:
            json.dump(facts, result, indent=2)
            result.write("\n")
    if with_table:
        print_run(FinishedRun(terms.run_name, terms.run_id, duration_s, code), summary)
