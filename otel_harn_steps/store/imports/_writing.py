"""Imported runs in the records folder: ordinary journals, each in place of what was imported before from its source."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from otel_harn_steps._calls.client import UNKNOWN_OPERATION
from otel_harn_steps._telemetry.journal_lines import (
    CALL_SETTLED,
    STEP_STARTED,
    VERSION,
    JournalHeader,
    file_prefix,
    header_line,
)
from otel_harn_steps._version import __version__
from otel_harn_steps.store._run_files import IMPORTED, SUFFIX, RunFile
from otel_harn_steps.store.imports._lines import stable_id
from otel_harn_steps.store.imports._runs import ImportedRun

Written = Literal["new", "changed", "same", "journaled", "less"]
"""`journaled`: the folder has journals of that run, which know more. `less`: what is there knows more of the source."""

_CALL_ID: Final = re.compile(rb'^\{"event":"call_settled","call_id":"([0-9a-f]{16})"', re.MULTILINE)
_NO_PROCESS: Final = 0
"""Of an imported run: no process of this machine wrote it."""


class RecordsFolder:
    """The folder that runs are imported into.

    Raises:
        OSError: it is no folder that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journals: dict[str, set[str]] = {}  # names by what they begin with: their run
        self._imported: dict[str, set[str]] = {}  # names by their source
        with suppress(FileNotFoundError):
            for each in os.scandir(folder):
                if each.name.endswith(".jsonl"):
                    self._add(each.name)

    def write(self, run: ImportedRun) -> Written:
        """Write the journal of a run, unless it is there as it is.

        What was imported before goes first: the index takes out what is gone, and a call is in it once.

        Raises:
            OSError: it cannot be written.
        """
        if self._is_journaled(run.run_id):
            return "journaled"
        source, content = _source(run.kind, run.source), _content(run)
        name = f"{file_prefix(run.run_id)}-{source}-{hashlib.blake2b(content, digest_size=4).hexdigest()}.jsonl"
        is_there = name in self._imported.get(source, ())
        replaced = (source, *(_source(run.kind, each) for each in run.replaces))
        before = {old for each in replaced for old in self._imported.get(each, ())} - {name}
        if run.seen is not None and any(not run.seen.issuperset(self._ids_in(old)) for old in before):
            return "less"
        if is_there:
            for old in before:
                self._remove(old)
        else:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(before, name, content)
        self._describe(run, is_new=not is_there)
        return "same" if is_there else "changed" if before else "new"

    def imported(self, kind: str, source: str) -> list[Path]:
        """The journals that were imported before from a source."""
        return [self._folder / name for name in sorted(self._imported.get(_source(kind, source), ()))]

    def calls_of_others(self, kind: str, sources: Iterable[str]) -> set[str]:
        """The ids of all calls that were imported from other sources than these."""
        left_out = {_source(kind, each) for each in sources}
        found = set[str]()
        for source, names in self._imported.items():
            if source not in left_out:
                for name in names:
                    with (self._folder / name).open("rb") as file:
                        found.update(each.decode() for each in _CALL_ID.findall(file.read()))
        return found

    def _add(self, name: str) -> None:
        prefix, source, _ = (f"--{name}").rsplit("-", 2)
        self._journals.setdefault(prefix[2:], set()).add(name)
        if source.startswith(IMPORTED):
            self._imported.setdefault(source, set()).add(name)

    def _replace(self, before: set[str], name: str, content: bytes) -> None:
        beside = self._folder / f".{name}.{os.getpid()}-{os.urandom(4).hex()}"
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            for old in before:
                self._remove(old)
            beside.replace(self._folder / name)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        self._add(name)

    def _remove(self, name: str) -> None:
        """Remove a journal that another has replaced, and the description of its run where that was the last one."""
        prefix, source, _ = name.rsplit("-", 2)
        (self._folder / name).unlink(missing_ok=True)
        self._imported[source].discard(name)
        self._journals[prefix].discard(name)
        if not self._journals[prefix]:
            (self._folder / f"{prefix}{SUFFIX}").unlink(missing_ok=True)

    def _is_journaled(self, run_id: str) -> bool:
        """Whether the run itself has written journals here."""
        names = self._journals.get(file_prefix(run_id), ())
        return any(not name.rsplit("-", 2)[1].startswith(IMPORTED) for name in names)

    def _ids_in(self, name: str) -> set[str]:
        """The ids of the steps in a journal, and of its calls that are no shares of several."""
        found = set[str]()
        with (self._folder / name).open("rb") as lines:
            for line in lines:
                with suppress(ValueError):
                    values = json.loads(line)
                    if values["event"] == STEP_STARTED:
                        found.add(values["step_id"])
                    elif values["event"] == CALL_SETTLED and values["operation"] != UNKNOWN_OPERATION:
                        found.add(values["call_id"])
        return found

    def _describe(self, run: ImportedRun, *, is_new: bool) -> None:
        """Write what the run is. With a new journal always: the index has forgotten what was known of the run."""
        described = RunFile(
            run_id=run.run_id,
            name=run.name,
            program=run.program,
            started_at=run.started_at,
            ended_at=run.ended_at,
            source=run.kind,
        )
        known: RunFile | None = None
        with suppress(OSError, ValueError):
            known = RunFile.read(self._folder / f"{file_prefix(run.run_id)}{SUFFIX}")
        if is_new or described != known:
            described.write(self._folder)


def _source(kind: str, source: str) -> str:
    return f"{IMPORTED}{stable_id(kind, source)}"


def _content(run: ImportedRun) -> bytes:
    header = JournalHeader(
        version=VERSION,
        run_id=run.run_id,
        run_name=run.name,
        process_id=_NO_PROCESS,
        parent_process_id=_NO_PROCESS,
        program=run.program,
        started_at=run.started_at,
        package_version=__version__,
        python_version="",
    )
    return "".join(f"{line}\n" for line in (header_line(header), *run.lines)).encode(errors="backslashreplace")
