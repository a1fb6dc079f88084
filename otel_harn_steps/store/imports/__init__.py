"""What others have written of calls and steps, as journals of the store.

from otel_harn_steps.store.imports import import_files

report = import_files("auto", ["rollout.jsonl"], "records")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from otel_harn_steps.store._index import Index
from otel_harn_steps.store._reading import DamagedLine
from otel_harn_steps.store.imports import calls, claude_code, codex, otlp, records
from otel_harn_steps.store.imports._lines import Problems, json_lines
from otel_harn_steps.store.imports._runs import ImportedRun
from otel_harn_steps.store.imports._writing import RecordsFolder

__all__ = ["KINDS", "ImportReport", "import_files"]

_LINES: Final = {
    records.KIND: records.is_line,
    calls.KIND: calls.is_line,
    otlp.KIND: otlp.is_line,
    claude_code.KIND: claude_code.is_line,
    codex.KIND: codex.is_line,
}
KINDS: Final = tuple(_LINES)
"""What can be imported."""

_DEFAULT_FOLDERS: Final = {claude_code.KIND: claude_code.default_folder, codex.KIND: codex.default_folder}
_ENDINGS: Final = ("*.jsonl", "*.json")
_MOST_LOOKED_AT: Final = 50


@dataclass(slots=True)
class ImportReport:
    """What has been imported.

    Attributes:
        new, changed, same: how many runs were not there before, were imported anew, or were there as they are.
        calls, steps: how many those have.
        cost_picousd: what the calls have cost whose price is known.
        journaled: runs that are left out, because they have written journals into the folder themselves.
        less: runs that are left out, because the folder has steps or calls of them that the files do not have.
        unpriced: models whose price is not known.
        damaged: the first hundred lines that could not be read; `damaged_lines`: how many there are.
    """

    new: int = 0
    changed: int = 0
    same: int = 0
    calls: int = 0
    steps: int = 0
    cost_picousd: int = 0
    journaled: list[str] = field(default_factory=list)
    less: list[str] = field(default_factory=list)
    unpriced: set[str] = field(default_factory=set)
    damaged: list[DamagedLine] = field(default_factory=list)
    damaged_lines: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The report in plain JSON values."""
        return {
            "new": self.new,
            "changed": self.changed,
            "same": self.same,
            "calls": self.calls,
            "steps": self.steps,
            "cost_picousd": self.cost_picousd,
            "journaled": self.journaled,
            "less": self.less,
            "unpriced": sorted(self.unpriced),
            "damaged": [str(each) for each in self.damaged],
            "damaged_lines": self.damaged_lines,
        }

    def _add(self, run: ImportedRun, written: str) -> None:
        if written in ("journaled", "less"):
            left_out = self.journaled if written == "journaled" else self.less
            left_out.append(run.run_id)
            return
        setattr(self, written, getattr(self, written) + 1)
        self.calls += run.calls
        self.steps += run.steps
        self.cost_picousd += run.cost_picousd
        self.unpriced |= run.unpriced


def import_files(kind: str, paths: Iterable[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> ImportReport:
    """Import files, and the files in folders, into a records folder.

    What is imported once more changes nothing; what has grown since takes the place of what was there. Needs the `cli`
    extra.

    Args:
        kind: one of `KINDS`; "auto": each file says what it is.
        paths: none: the folder in which the tool keeps its logs.
        folder: the records folder. Made where it is needed, for its owner alone.

    Raises:
        ValueError: there is no such kind, or a file is of none, or of another one; the message names it.
        OSError: a file cannot be read, or the folder cannot be written to.
    """
    if kind not in (*KINDS, "auto"):
        raise ValueError(f"{kind!r} cannot be imported; what can: auto, {', '.join(KINDS)}")
    report, problems, target = ImportReport(), Problems(), RecordsFolder(Path(folder))
    for each, files in _by_kind(kind, _files(kind, [Path(path) for path in paths])).items():
        journaled = _journaled_traces(Path(folder)) if each == otlp.KIND else frozenset[str]()
        for run in _runs_in(each, files, target, problems):
            report._add(run, "journaled" if run.source in journaled else target.write(run))
    report.damaged, report.damaged_lines = problems.damaged, problems.count
    return report


def _runs_in(kind: str, files: list[Path], folder: RecordsFolder, problems: Problems) -> Iterator[ImportedRun]:
    if kind == records.KIND:
        return records.runs_in(files, folder, problems)
    if kind == calls.KIND:
        return calls.runs_in(files, folder, problems)
    if kind == claude_code.KIND:
        return claude_code.runs_in(files, folder, problems)
    if kind == otlp.KIND:
        return otlp.runs_in(files, problems)
    return codex.runs_in(files, problems)


def _journaled_traces(folder: Path) -> frozenset[str]:
    """The traces of steps that have written journals here themselves."""
    if not folder.is_dir():
        return frozenset()
    index = Index(folder)
    try:
        index.update()
        rows = index.database.execute(
            "SELECT DISTINCT LOWER(HEX(trace_id)) FROM steps JOIN runs ON runs.id = steps.run"
            " WHERE trace_id IS NOT NULL AND runs.source = 'journal'"
        )
        return frozenset(trace_id for (trace_id,) in rows)
    finally:
        index.close()


def _files(kind: str, paths: list[Path]) -> list[tuple[Path, bool]]:
    """The files, and whether each was named itself."""
    if not paths:
        if kind not in _DEFAULT_FOLDERS:
            raise ValueError(f"what is to be imported? {kind} has no folder of its own: name files or folders")
        paths = [_DEFAULT_FOLDERS[kind]()]
    found: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            for each in sorted({each for ending in _ENDINGS for each in path.rglob(ending) if each.is_file()}):
                found.setdefault(each, False)
        elif path.exists():
            found[path] = True
        else:
            raise FileNotFoundError(f"{path} is not there")
    return list(found.items())


def _by_kind(kind: str, files: list[tuple[Path, bool]]) -> dict[str, list[Path]]:
    """The files by what they are. Others are passed over in a folder, and are an error where they are named."""
    sorted_files: dict[str, list[Path]] = {}
    for path, is_named in files:
        looks_like = _kind_of(path)
        if looks_like is not None and kind in (looks_like, "auto"):
            sorted_files.setdefault(looks_like, []).append(path)
        elif is_named and path.stat().st_size:
            is_what = "nothing that can be imported" if looks_like is None else f"of the kind {looks_like}"
            what = f"not {kind}" if kind != "auto" else f"none of {', '.join(KINDS)}"
            raise ValueError(f"{path} is {is_what}: {what}{_hint(path)}")
    return sorted_files


def _kind_of(path: Path) -> str | None:
    """What the first lines of a file say that it is."""
    for _, values in islice(json_lines(path, Problems()), _MOST_LOOKED_AT):
        for kind, is_line in _LINES.items():
            if is_line(values):
                return kind
    return None


def _hint(path: Path) -> str:
    first: Mapping[str, Any] = next((values for _, values in json_lines(path, Problems())), {})
    if first.get("event") == "journal":
        return ". It is a journal: put it into the records folder as it is"
    if "resourceMetrics" in first or "resourceLogs" in first:
        return ". It has metrics or logs; only traces have steps and calls"
    return ""
