"""What a run has cost, read from its journals when the program has ended."""

from __future__ import annotations

import json
from typing import TextIO

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._folder import RunTerms
from otel_harn_steps.cli._table import FinishedRun, print_run
from otel_harn_steps.store import JournalReader, RunSummary

_MOST_DAMAGED = 3


def read_journals(terms: RunTerms) -> RunSummary:
    """Add up the journals of the run."""
    reader = JournalReader(terms.journal, run_id=terms.run_id)
    summary = RunSummary(reader.poll())
    for each in reader.damaged[:_MOST_DAMAGED]:
        complain(f"a line of the journal is left out, 1 of {reader.damaged_lines}: {each}")
    return summary


def write_result(result: TextIO, terms: RunTerms, finished: tuple[int, float], summary: RunSummary) -> None:
    """Write the result of `--json`."""
    code, duration_s = finished
    facts = {
        "run_id": terms.run_id,
        "program": terms.run_name,
        "exit_code": code,
        "duration_s": round(duration_s, 3),
        **summary.to_dict(),
    }
    with result:
        json.dump(facts, result, indent=2)
        result.write("\n")


def print_table(terms: RunTerms, finished: tuple[int, float], summary: RunSummary) -> None:
    """Print what the program has cost."""
    code, duration_s = finished
    print_run(FinishedRun(terms.run_name, terms.run_id, duration_s, code), summary)
