"""What a run has cost, read from its journals when the program has ended."""

from __future__ import annotations

import json
from typing import TextIO

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._folder import RunTerms
from otel_harn_steps.cli._spent_budget import Finished
from otel_harn_steps.cli._table import FinishedRun, print_run
from otel_harn_steps.cli._terminal import Color
from otel_harn_steps.store import JournalReader, RunSummary

_MOST_DAMAGED = 3


def read_journals(terms: RunTerms) -> RunSummary:
    """Add up the journals of the run."""
    reader = JournalReader(terms.journal, run_id=terms.run_id)
    summary = RunSummary(reader.poll())
    for each in reader.damaged[:_MOST_DAMAGED]:
        complain(f"a line of the journal is left out, 1 of {reader.damaged_lines}: {each}")
    return summary


def write_result(result: TextIO, terms: RunTerms, finished: Finished, summary: RunSummary) -> None:
    """Write the result of `--json`."""
    facts = {
        "run_id": terms.run_id,
        "program": terms.run_name,
        "exit_code": finished.code,
        "duration_s": round(finished.duration_s, 3),
        "budget": None if finished.budget is None else finished.budget.to_dict(),
        **summary.to_dict(),
    }
    with result:
        json.dump(facts, result, indent=2)
        result.write("\n")


def print_table(terms: RunTerms, finished: Finished, summary: RunSummary, color: Color, *, is_kept: bool) -> None:
    """Print what the program has cost."""
    over = None if finished.budget is None else finished.budget.sentence()
    run = FinishedRun(terms.run_name, terms.run_id, finished.duration_s, finished.code, over, is_kept)
    print_run(run, summary, color)
