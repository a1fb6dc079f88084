"""What a run has cost, as a table that fits the terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from signal import Signals
from typing import Any, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.cli._models_line import models_line
from otel_harn_steps.cli._notes import UNSEEN_CALL
from otel_harn_steps.cli._spend_text import (
    calls_cell,
    cost_cell,
    tokens_cell,
    unknown_remarks,
)
from otel_harn_steps.cli._terminal import DEFAULT_WIDTH, Color, print_lines, terminal_width
from otel_harn_steps.cli._text_table import (
    MARGIN,
    Cell,
    Column,
    Line,
    beside,
    label,
    spread,
    table,
    width_of,
)
from otel_harn_steps.cli._unseen import notes_of, unseen_requests, why_nothing_was_seen
from otel_harn_steps.store import RunSummary, Spend, StepSpend
from otel_harn_steps.store._numbers import counted, dollars, duration

_MOST_STEPS: Final = 30
_MOST_IN_FLIGHT: Final = 3


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        program: its name.
        run_id: its id.
        duration_s: how long it has taken.
        exit_code: the program's, negative for the signal that has killed it.
        over: what has ended the run, and what was spent of it. None: the program has ended by itself.
        is_kept: whether its records can be read later.
    """

    program: str
    run_id: str
    duration_s: float
    exit_code: int
    over: str | None = None
    is_kept: bool = False

    @property
    def ending(self) -> str:
        """How the program has ended, as `ending_of` says it."""
        return ending_of(self.exit_code)


def ending_of(exit_code: int) -> str:
    """How a program has ended: `exit 0`, `killed by SIGTERM`."""
    if exit_code >= 0:
        return f"exit {exit_code}"
    try:
        return f"killed by {Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def print_run(run: FinishedRun, summary: RunSummary, color: Color) -> None:
    """Print the run on stderr: in colour where it is a terminal and Rich is installed."""
    print_lines(run_lines(run, summary, terminal_width(sys.stderr)), color, sys.stderr)


def run_lines(run: FinishedRun, summary: RunSummary, width: int = DEFAULT_WIDTH) -> list[Line]:
    """The lines of the table. None is wider than `width`, unless that is narrower than a name and its dollars."""
    rows = list(islice(summary.tree(), _MOST_STEPS))
    steps, notes = _steps(rows, width) if rows else ([], [])
    more = sum(1 for _ in summary.tree()) - len(rows)
    if more:
        steps.append(Line.of(f"  and {more} more: --json FILE has all of them", "dim"))
    right_edge = max((line.width for line in steps), default=width)
    head = _head(run, summary, min(right_edge, width), width)
    ended = () if run.over is None else (f"ended by its budget: {run.over}",)
    remarks = [f"  {line}" for line in (*ended, *notes, *_remarks(summary))]
    wrapped = [each for line in remarks for each in textwrap.wrap(line, max(width, 40), subsequent_indent="    ")]
    models = [Line.of(text) for text in models_line(summary.models_by_cost(), width)]
    if run.is_kept:
        models = _with_hint(models, f"otel-harn-steps show {run.run_id[:8]}", min(right_edge, width))
    return [head, *steps, *models, *(Line.of(line, "dim") for line in wrapped)]


def _head(run: FinishedRun, summary: RunSummary, right_edge: int, width: int) -> Line:
    total = summary.total
    cell = cost_cell(total)
    cost = cell.text + cell.mark if total.calls or total.open_calls else ""
    about = f"run {run.run_id[:8]} · {duration(run.duration_s)} · {run.ending}"
    room = width - width_of(about) - width_of(cost) - len(MARGIN) - 3
    return spread(Line.of(f"{label(run.program, max(room, 8))} · {about}", "bold"), cost, right_edge, "bold")


def _with_hint(lines: list[Line], hint: str, right_edge: int) -> list[Line]:
    """At the end of the last line, or on one of its own."""
    last = lines[-1] if lines else Line.of("")
    if right_edge - last.width - width_of(hint) >= len(MARGIN):
        return [*lines[:-1], spread(last, hint, right_edge, "dim")]
    return [*lines, Line.of(MARGIN + hint, "dim")]


# -- the steps ---------------------------------------------------------------------------------------------------------

_LEAVING: Final = {"calls": 0, "input": 0, "cached": 0, "output": 0, "own": 1, "total": None}
"""The columns, and when they go in a terminal that is too narrow. The total stays."""


def _steps(rows: Sequence[tuple[int, StepSpend, Spend]], width: int) -> tuple[list[Line], list[str]]:
    """The table, and what has no room beside it."""
    names = Column(
        heading="step",
        cells=[Cell(step.name, depth=depth) for depth, step, _ in rows],
        is_name=True,
        leaves=None,
    )
    numbers = [
        Column(heading=heading, cells=[_cell(heading, step.own, total) for _, step, total in rows], leaves=leaves)
        for heading, leaves in _LEAVING.items()
    ]
    lines = table([names, *numbers], width, gap=3)
    notes = [_breach_note(step) for _, step, _ in rows]
    noted = beside(lines, ["", *notes], width)
    if noted is not None:
        return noted, []
    return lines, [f"{label(step.path)}: {note}" for (_, step, _), note in zip(rows, notes, strict=True) if note]


def _cell(heading: str, own: Spend, total: Spend) -> Cell:
    if heading in ("own", "total"):
        return cost_cell(own if heading == "own" else total)
    if heading == "calls":
        return calls_cell(own)
    name = {"input": "input_tokens", "cached": "cache_read_tokens", "output": "output_tokens"}[heading]
    return tokens_cell(own, getattr(own, name))


def _breach_note(step: StepSpend) -> str:
    record = step.last_breach
    if record is None:
        return ""
    runs = f", in {step.breaches} of {step.runs} runs" if step.runs > 1 else ""
    return f"{record['status']}: over {label(str(record['breach']))}{_over(record)}{runs}"


def _over(record: Mapping[str, Any]) -> str:
    """By how much: ` (10,045 of 5,000)`. The limit covers the step's own calls, or those of the steps below it too."""
    limit: Any = record.get(str(record["breach"]))
    if limit is None:
        return ""
    if record["breach"] == "max_usd":
        spent = (record.get("cost_usd", 0), record.get("total_cost_usd", 0))
        texts = [dollars(to_picousd(usd) or 0) for usd in (*spent, limit)]
    else:
        spent = tuple(
            record.get(f"{which}input_tokens", 0) + record.get(f"{which}output_tokens", 0) for which in ("", "total_")
        )
        texts = [f"{tokens:,}" for tokens in (*spent, limit)]
    own, total = (amount > limit for amount in spent)
    return f" ({texts[0 if own else 1]} of {texts[2]})" if own or total else ""


# -- below the steps ---------------------------------------------------------------------------------------------------


def _remarks(summary: RunSummary) -> Iterator[str]:
    total = summary.total
    yield from unknown_remarks(total)
    if total.open_calls:
        yield f"… {counted(total.open_calls, 'call')} in flight when the program ended: {_in_flight(summary)}"
    open_steps = [values for process in summary.processes for values in process.open_steps.values()]
    if open_steps:
        paths = list(dict.fromkeys(label(values["path"]) for values in open_steps))
        yield f"… {counted(len(open_steps), 'run')} of steps that had not ended: {_first(paths)}"
    yield from unseen_requests(notes_of(summary, UNSEEN_CALL))
    yield from why_nothing_was_seen(summary)


def _in_flight(summary: RunSummary) -> str:
    rows = [row for process in summary.processes for row in process.open_calls.values()]
    return _first([label(f"{row.requested_model or row.provider} in {row.path or row.step}") for row in rows])


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_IN_FLIGHT
    return ", ".join(texts[:_MOST_IN_FLIGHT]) + (f" and {more} more" if more > 0 else "")
