"""What a run has cost, as a table that fits the terminal."""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from signal import Signals
from typing import Any, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.cli._unseen import unseen_requests, why_nothing_was_seen
from otel_harn_steps.store import RunSummary, Spend, StepSpend
from otel_harn_steps.store._numbers import counted, dollars, duration, shown

_DEFAULT_WIDTH: Final = 80
_NARROWEST_NAME: Final = 24
_MOST_STEPS: Final = 30
_MOST_MODELS: Final = 4
_MOST_IN_FLIGHT: Final = 3
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        program: its name.
        run_id: its id.
        duration_s: how long it has taken.
        exit_code: the program's, negative for the signal that has killed it.
        over: what has ended the run, and what was spent of it. None: the program has ended by itself.
    """

    program: str
    run_id: str
    duration_s: float
    exit_code: int
    over: str | None = None

    @property
    def ending(self) -> str:
        """How the program has ended: `exit 0`, `killed by SIGTERM`."""
        if self.exit_code >= 0:
            return f"exit {self.exit_code}"
        try:
            return f"killed by {Signals(-self.exit_code).name}"
        except ValueError:
            return f"killed by signal {-self.exit_code}"


_Line = tuple[str, str]
"""A line and its style, as Rich calls it."""


def print_run(run: FinishedRun, summary: RunSummary) -> None:
    """Print the run on stderr: in colour where it is a terminal and Rich is installed."""
    lines = run_lines(run, summary, _terminal_width())
    if sys.stderr.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415 -- an extra
        except ImportError:
            pass
        else:
            console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, emoji=False)
            for text, style in lines:
                console.print(text, style=style or None)
            return
    for text, _ in lines:
        print(text, file=sys.stderr)


def _terminal_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):
        return _DEFAULT_WIDTH


def run_lines(run: FinishedRun, summary: RunSummary, width: int = _DEFAULT_WIDTH) -> list[_Line]:
    """The lines of the table. None is wider than `width`, unless that is narrower than a name and its dollars."""
    rows = list(islice(summary.tree(), _MOST_STEPS))
    table, notes = _table(rows, width) if rows else ([], [])
    more = sum(1 for _ in summary.tree()) - len(rows)
    if more:
        table.append((f"  and {more} more: --json FILE has all of them", "dim"))
    right_edge = max((_cells(text) for text, _ in table), default=width)
    head = _head(run, summary, min(right_edge, width), width)
    ended = () if run.over is None else (f"ended by its budget: {run.over}",)
    remarks = [f"  {line}" for line in (*ended, *notes, *_remarks(summary))]
    wrapped = [each for line in remarks for each in textwrap.wrap(line, max(width, 40), subsequent_indent="    ")]
    models = [(text, "") for text in _models(summary, width)]
    return [head, *table, *models, *((line, "dim") for line in wrapped)]


def _head(run: FinishedRun, summary: RunSummary, right_edge: int, width: int) -> _Line:
    total = summary.total
    cost = "".join(_cost(total)) if total.calls or total.open_calls else ""
    about = f"run {run.run_id[:8]} · {duration(run.duration_s)} · {run.ending}"
    room = width - _cells(about) - _cells(cost) - len(_GAP) - 3
    left = f"{_cut(shown(run.program), max(room, 8))} · {about}"
    space = max(right_edge - _cells(left) - _cells(cost), len(_GAP))
    return (left + " " * space + cost).rstrip(), "bold"


# -- the steps ---------------------------------------------------------------------------------------------------------

_Cell = tuple[str, str]
"""A number, and the mark that follows it."""
_HEADINGS: Final = ("calls", "input", "cached", "output", "own", "total")
_DROPPED: Final = ("output", "cached", "input", "calls", "own")
"""In a terminal that is too narrow, in this order. The total stays."""


def _table(rows: Sequence[tuple[int, StepSpend, Spend]], width: int) -> tuple[list[_Line], list[str]]:
    """The table, and what has no room beside it."""
    names = [_GAP * (depth + 1) + shown(step.name) for depth, step, _ in rows]
    columns = {
        heading: _aligned(heading, [_cell(heading, step.own, total) for _, step, total in rows])
        for heading in _HEADINGS
    }
    widest = max(_cells(name) for name in (*names, "  step"))
    for heading in _DROPPED:
        if min(widest, _NARROWEST_NAME) + _width_of(columns) <= width:
            break
        del columns[heading]
    widest = min(widest, max(width - _width_of(columns), 8))
    lines = [
        _padded(_cut(name, widest), widest) + "".join(_GAP + " " + each for each in cells)
        for name, *cells in zip(("  step", *names), *columns.values(), strict=True)
    ]
    notes = ["", *(_breach_note(step) for _, step, _ in rows)]
    beside = [f"{line}   {note}" if note else line for line, note in zip(lines, notes, strict=True)]
    fits = all(_cells(line) <= width for line in beside)
    below = [] if fits else [f"{shown(rows[n - 1][1].path)}: {note}" for n, note in enumerate(notes) if note]
    shown_lines = [line.rstrip() for line in (beside if fits else lines)]
    return [(line, "" if n else "dim") for n, line in enumerate(shown_lines)], below


def _width_of(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(len(_GAP) + 1 + _cells(cells[0]) for cells in columns.values())


def _aligned(heading: str, cells: Sequence[_Cell]) -> list[str]:
    """The column: numbers to the right, and marks behind them."""
    marks = max((len(mark) for _, mark in cells), default=0)
    numbers = max(len(heading), *(len(number) for number, _ in cells))
    return [number.rjust(numbers) + mark.ljust(marks) for number, mark in ((heading, ""), *cells)]


def _cell(heading: str, own: Spend, total: Spend) -> _Cell:
    if heading in ("own", "total"):
        return _cost(own if heading == "own" else total)
    if heading == "calls":
        return ("…", "") if own.open_calls and not own.calls else (f"{own.calls:,}", "")
    if not own.calls:
        return "", ""
    name = {"input": "input_tokens", "cached": "cache_read_tokens", "output": "output_tokens"}[heading]
    tokens: int = getattr(own, name)
    return ("?", "") if own.unmetered_calls == own.calls and not tokens else (f"{tokens:,}", "")


def _cost(spend: Spend) -> _Cell:
    """Dollars, measured and estimated; `?` for what has no price, `…` for what is in flight."""
    marks = ("?" if spend.unknown_calls else "") + ("…" if spend.open_calls else "")
    if not spend.calls or spend.unknown_calls == spend.calls:
        return marks, ""
    tilde = "~" if spend.estimated_cost_picousd else ""
    return tilde + dollars(spend.cost_picousd + spend.estimated_cost_picousd), marks


def _breach_note(step: StepSpend) -> str:
    record = step.last_breach
    if record is None:
        return ""
    runs = f", in {step.breaches} of {step.runs} runs" if step.runs > 1 else ""
    return f"{record['status']}: over {shown(str(record['breach']))}{_over(record)}{runs}"


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


def _models(summary: RunSummary, width: int) -> Iterator[str]:
    """One line: the models by their share of the dollars, or of the calls where none has a price."""
    used = summary.models_by_cost()
    if not used:
        return
    all_dollars = sum(spend.cost_picousd + spend.estimated_cost_picousd for _, spend in used)
    all_calls = sum(spend.calls + spend.open_calls for _, spend in used)
    names = [model or "(unknown model)" for (_, model), _ in used]
    parts = []
    for ((provider, _), spend), name in zip(used, names, strict=True):
        title = shown(f"{provider}/{name}" if names.count(name) > 1 else name)
        amount = spend.cost_picousd + spend.estimated_cost_picousd
        parts.append((title, amount if all_dollars else spend.calls + spend.open_calls))
    kept = min(len(parts), _MOST_MODELS)
    while kept > 1 and _cells(_shares(parts, kept, all_dollars or all_calls)) > width:
        kept -= 1
    yield _cut(_shares(parts, kept, all_dollars or all_calls), max(width, 8))


def _shares(parts: Sequence[tuple[str, int]], kept: int, whole: int) -> str:
    others = sum(amount for _, amount in parts[kept:])
    shares = [*parts[:kept], *([("others", others)] if len(parts) > kept else [])]
    return "  " + " · ".join(f"{name} {_percent(amount, whole)}" for name, amount in shares)


def _percent(amount: int, whole: int) -> str:
    percent = (200 * amount + whole) // (2 * whole)
    return "<1 %" if amount and not percent else f"{percent} %"


def _remarks(summary: RunSummary) -> Iterator[str]:
    total = summary.total
    if total.estimated_cost_picousd:
        estimated = dollars(total.estimated_cost_picousd)
        yield f"~ {estimated} of it is estimated, for {counted(total.estimated_calls, 'call')}"
    if total.unknown_calls:
        yield f"? {counted(total.unknown_calls, 'call')} of unknown cost, which no number here holds"
    if total.unpriced_calls:
        yield f"{counted(total.unpriced_calls, 'call')} without a price"
    if total.unmetered_calls:
        yield f"{counted(total.unmetered_calls, 'call')} whose tokens the provider did not report"
    if total.open_calls:
        yield f"… {counted(total.open_calls, 'call')} in flight when the program ended: {_in_flight(summary)}"
    open_steps = [values for process in summary.processes for values in process.open_steps.values()]
    if open_steps:
        paths = list(dict.fromkeys(shown(values["path"]) for values in open_steps))
        yield f"… {counted(len(open_steps), 'run')} of steps that had not ended: {_first(paths)}"
    yield from unseen_requests(summary)
    yield from why_nothing_was_seen(summary)


def _in_flight(summary: RunSummary) -> str:
    rows = [row for process in summary.processes for row in process.open_calls.values()]
    return _first([shown(f"{row.requested_model or row.provider} in {row.path or row.step}") for row in rows])


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_IN_FLIGHT
    return ", ".join(texts[:_MOST_IN_FLIGHT]) + (f" and {more} more" if more > 0 else "")


# -- text in cells -----------------------------------------------------------------------------------------------------


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_cells_of(each) for each in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _cut(text: str, width: int) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if _cells(text) <= width:
        return text
    kept, room = "", width - 1
    for each in text:
        room -= _cells_of(each)
        if room < 0:
            break
        kept += each
    return kept + "…"
