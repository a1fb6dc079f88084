"""The end of a session of tests: cost snapshots are written, and those that no test uses are named."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_harn_steps.store._numbers import counted
from otel_harn_steps.testing._cost_snapshot import OF_LABEL, UPDATE
from otel_harn_steps.testing._snapshot_files import FOLDER, CostSnapshotError, file_of, read, tests_of, write


@dataclass(slots=True)
class SnapshotSession:
    """What is known at the end of a session.

    Attributes:
        used: what each test has compared: see `CostSnapshot.used`.
        collected: the ids of the tests of each file of tests next to which there are snapshots.
        is_whole: whether those files were collected whole, so that a test that is not there does not exist.
        passed: the ids of the tests that have passed.
    """

    used: list[dict[str, Any]] = field(default_factory=list)
    collected: Mapping[str, Collection[str]] = field(default_factory=dict)
    is_whole: bool = False
    passed: Collection[str] = ()

    def finish(self, *, updates: bool) -> list[str]:
        """Write what is to be written. Returns what to say about it."""
        said: list[str] = []
        for file in sorted(self._files()):
            try:
                said += self._finish(file, updates=updates)
            except CostSnapshotError as error:
                said.append(str(error))
        return said

    def _files(self) -> set[Path]:
        of_tests = {file_of(Path(tests)) for tests in self.collected}
        beside = {file for tests in self.collected for file in (Path(tests).parent / FOLDER).glob("*.json")}
        gone = {file for file in beside if not tests_of(file).exists() and file not in of_tests}
        return {Path(each["file"]) for each in self.used} | of_tests | gone

    def _finish(self, file: Path, *, updates: bool) -> Iterator[str]:
        entries = read(file)
        unused = list(self._unused(file, entries))
        if not updates:
            if unused:
                yield f"{file}: no test uses {', '.join(unused)}; pytest {UPDATE} removes it"
            return
        new = {key: entry for each in self._passed_of(file) for key, entry in each["entries"].items()}
        kept = {key: entry for key, entry in entries.items() if key not in unused} | new
        if not kept and not entries:
            return
        changed = sum(new[key] != entries.get(key) for key in new)
        if write(file, kept) and changed:
            added = len(new.keys() - entries.keys())
            yield f"{file}: {counted(changed, 'cost snapshot')} written, {added:,} of them new"
        if unused:
            yield f"{file}: removed what no test uses: {', '.join(unused)}"

    def _passed_of(self, file: Path) -> Iterator[dict[str, Any]]:
        return (each for each in self.used if each["file"] == str(file) and each["test"] in self.passed)

    def _unused(self, file: Path, entries: Iterable[str]) -> Iterator[str]:
        tests = next((ids for path, ids in self.collected.items() if file_of(Path(path)) == file), None)
        if tests is None:
            if not tests_of(file).exists():
                yield from entries
            return
        names = {test.partition("::")[2]: test for test in tests}
        used = {key for each in self.used if each["file"] == str(file) for key in each["entries"]}
        for key in entries:
            test = names.get(key) or names.get(key.rpartition(OF_LABEL)[0])
            if (test is None and self.is_whole) or (test in self.passed and key not in used):
                yield key
