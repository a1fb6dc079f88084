"""Takes the pictures of the terminal for the docs: commands over a store of recorded runs, as SVG made by Rich.

    python -m tools.terminal_pictures [FOLDER]     from the checkout; default: docs/pictures

The runs are real: the agent of examples/agent.py under `otel-harn-steps run`, with real clients, against recordings.
Their steps, calls, tokens and prices are as they were. Ids and times are replaced, so that the same code makes the same
pictures: a call takes as long as its output would, the two programs are taken as if they ran on many days.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
from otel_harn_steps._telemetry.journal import Journal
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.cli._report_text import report_lines
from otel_harn_steps.cli._show_text import run_detail_lines
from otel_harn_steps.cli._table import FinishedRun, run_lines
from otel_harn_steps.cli._text_table import Line
from otel_harn_steps.cli._top_text import View, Watch, snapshot_lines
from otel_harn_steps.store import Filter, JournalReader, RunFile, RunSummary, Store

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 84
NS = 10**9
DAYS = 14
NOW = 1_795_700_000 * NS  # 26 November 2026, a Thursday, in the afternoon
NS_PER_TOKEN = 12_000_000
PROGRAMS = {
    "newsletter.py": "import agent\nagent.newsletter('Hello, world!')\n",
    "invite.py": "import agent\nagent.invite('The meeting is scheduled for March 15th at 2 PM.')\n",
}
SHOWN = "7f3a91c2d4e5f607"


@dataclass(frozen=True)
class Recorded:
    """What a run did."""

    program: str
    exit_code: int
    started: Sequence[StartedStep]
    ended: Sequence[CompletedStep]
    calls: Sequence[CallRow]


def record(program: str, url: str) -> Recorded:
    """Run a program, and read what it did."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / program).write_text(PROGRAMS[program])
        machine = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_"))}
        ran = subprocess.run(
            [sys.executable, "-m", "otel_harn_steps.cli", "run", "--records", "kept", "--", sys.executable, program],
            cwd=folder, check=False, timeout=120, capture_output=True,
            env={
                **machine,
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples"))),
                "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none",
                "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none", "NO_PROXY": "127.0.0.1",
            },
        )  # fmt: skip
        events = list(JournalReader(Path(folder) / "kept").poll())
    by_path = [event for event in events if event.event == "step_started"]
    return Recorded(
        program,
        ran.returncode,
        sorted((StartedStep.from_dict(event.values) for event in by_path), key=lambda step: step.path),
        sorted(
            (CompletedStep.from_dict(event.values) for event in events if event.event == "step_ended"),
            key=lambda step: step.path,
        ),
        sorted(
            (event.row for event in events if event.event == "call_settled" and event.row is not None),
            key=lambda row: (row.path, row.requested_model or "", row.input_tokens or 0, row.output_tokens or 0),
        ),
    )


def write(run: Recorded, folder: Path, run_id: str, began: int, until: float = float("inf")) -> None:
    """Write a run into a store, as if it had begun then; `until` so many seconds later."""
    ends_at = began + int(until * NS) if until < float("inf") else 2**63 - 1
    journal = Journal(folder, run_id=run_id, run_name=run.program)
    number = Counter(step.path for step in run.started)
    assert max(number.values()) == 1, "the steps are told apart by their paths"
    times = dict(_times(run, began))
    for step in run.started:
        ids = {"run_id": run_id, "step_id": _id(run_id, step.path), "parent_id": _parent(run_id, step.path)}
        if times[step.path][0] < ends_at:
            journal.step_started(replace(step, **ids, start_time=times[step.path][0], trace_id=None))
    for n, call in enumerate(run.calls):
        sent_at, took = times[f"call {n}"]
        row = replace(
            call, run_id=run_id, call_id=_id(run_id, str(n)), sent_at=sent_at, duration_ns=took,
            step_id=_id(run_id, call.path) if call.path else None, parent_id=_parent(run_id, call.path),
        )  # fmt: skip
        if sent_at < ends_at:
            journal.call_sent(replace(row, outcome="open"))
        if sent_at + took < ends_at:
            journal.call_settled(row)
    for ended in run.ended:
        began_at, ended_at = times[ended.path]
        if ended_at < ends_at:
            ids = {"run_id": run_id, "step_id": _id(run_id, ended.path), "parent_id": _parent(run_id, ended.path)}
            journal.step_ended(
                replace(ended, **ids, start_time=began_at, end_time=ended_at, trace_id=None, span_id=None)
            )
    journal.close()
    if until == float("inf"):
        last = max(end for _, end in times.values() if end > began)
        RunFile(
            run_id=run_id, name=run.program, program=run.program, started_at=began, ended_at=last,
            exit_code=run.exit_code,
        ).write(folder)  # fmt: skip


def _times(run: Recorded, began: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """When each step began and ended, and when each call was sent and how long it took. Steps of one parent overlap."""
    ends = {step.path: began for step in run.started}
    for n, call in enumerate(run.calls):
        took = NS // 3 + NS_PER_TOKEN * (call.output_tokens or 0)
        sent_at = began + (call.path.count("/") + n % 3) * NS // 4
        yield f"call {n}", (sent_at, took)
        for path, end in ends.items():
            if call.path == path or call.path.startswith(f"{path}/"):
                ends[path] = max(end, sent_at + took + NS // 50)
    for path, end in ends.items():
        yield path, (began + path.count("/") * NS // 4, end)


def _id(run_id: str, name: str) -> str:
    return f"{run_id[:8]}{hash_of(name):08x}"


def hash_of(name: str) -> int:
    """A number of 32 bits that is the same in every process."""
    return int.from_bytes(name.encode()[-4:].rjust(4, b"-"), "big") ^ len(name)


def _parent(run_id: str, path: str) -> str | None:
    return _id(run_id, path.rpartition("/")[0]) if "/" in path else None


def store_of(runs: Sequence[Recorded], folder: Path) -> None:
    """Two weeks of the programs."""
    newsletter, invite = runs
    for day in range(DAYS):
        began = NOW - (DAYS - day) * 86_400 * NS + 8 * 3600 * NS
        for n in range(1 + day * 5 % 4):
            write(newsletter, folder, f"{day:02x}{n:02x}" * 4, began + n * 600 * NS)
        write(invite, folder, f"{day:02x}ff" * 4, began + 3600 * NS)
    write(newsletter, folder, SHOWN, NOW - 120 * NS)


# -- pictures ----------------------------------------------------------------------------------------------------------


def picture(file: Path, command: str, lines: Sequence[Line]) -> None:
    """Write a picture of a terminal in which a command was typed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "dim"), command))
    for line in lines:
        console.print(Text.assemble(*line.parts), soft_wrap=True)
    console.print()  # the last line would lose its underscores
    # A page of the docs fetches nothing: without the fonts that Rich would fetch, it is the reader's own.
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title=command, code_format=form, unique_id=file.stem)
    file.write_text(svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"), encoding="utf-8")


def main(folder: Path) -> None:
    """Take all pictures."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    sys.path.insert(0, str(ROOT / "examples"))
    with importlib.import_module("stand_in").stand_in() as url:
        runs = [record(program, url) for program in PROGRAMS]
    with tempfile.TemporaryDirectory() as records, Store(records) as store:
        store_of(runs, Path(records))
        store.update()
        report = store.report("step", Filter(since=NOW - DAYS * 86_400 * NS))
        models = store.report("model", Filter(since=NOW - DAYS * 86_400 * NS))
        since = f"last {DAYS} days"
        command = f"otel-harn-steps report --since {DAYS}d"
        picture(folder / "report.svg", command, report_lines(report, period=since, width=WIDTH))
        picture(folder / "models.svg", f"{command} --by model", report_lines(models, period=since, width=WIDTH))
        detail = store.run(SHOWN)
        shown = run_detail_lines(detail, now_ns=NOW, width=WIDTH)
        picture(folder / "show.svg", "otel-harn-steps show last", shown)
        summary = RunSummary(JournalReader(records, run_id=SHOWN).poll())
        took_s = ((detail.run.ended_at or NOW) - detail.run.started_at) / NS
        finished = FinishedRun("newsletter.py", SHOWN, took_s, detail.run.exit_code or 0, is_kept=True)
        picture(folder / "run.svg", "otel-harn-steps run -- python newsletter.py", run_lines(finished, summary, WIDTH))
    with tempfile.TemporaryDirectory() as records, Store(records) as store:
        for n, began in enumerate((2.6, 1.4)):
            write(runs[0], Path(records), f"{n + 10:x}c4e" * 4, NOW - int(began * NS), until=began)
        snapshot = Watch(store, Filter()).look(NOW)
        running = replace(
            snapshot,
            runs=[replace(run, status="running", ended_at=None) for run in snapshot.runs],
            steps={
                run_id: [replace(step, status="running" if step.ended_at is None else step.status) for step in steps]
                for run_id, steps in snapshot.steps.items()
            },
        )
        picture(folder / "top.svg", "otel-harn-steps top", snapshot_lines(running, View(), WIDTH))


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if sys.argv[1:] else PICTURES
    chosen.mkdir(parents=True, exist_ok=True)
    main(chosen)
