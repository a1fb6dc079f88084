"""What the steps of a test are expected to cost: compared with what they cost now.

Not made of syrupy, whose manners it has: that compares text, and would say that a new price book is another snapshot;
and as a dependency it would bring its own plugin, fixture and options into every project that installs this package.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from otel_harn_steps.testing._capture import CapturedSteps
from otel_harn_steps.testing._cost_diff import differences
from otel_harn_steps.testing._cost_entry import Entry, entry_of
from otel_harn_steps.testing._snapshot_files import file_of, read

UPDATE: Final = "--update-cost-snapshots"
OF_LABEL: Final = " / "
"""Between a test's name and the label of one of its snapshots."""


class CostSnapshot:
    """What a test has cost when that was last accepted. `captured == snapshot` compares calls, tokens, models and cost.

    A test that compares more than once gives each comparison a name: `assert first == cost_snapshot("first")`.

    Raises, when it compares:
        CostSnapshotError: the file cannot be read.
    """

    def __init__(self, tests: Path, test: str, *, updates: bool = False, label: str | None = None) -> None:
        """Find the snapshot of a test.

        Args:
            tests: the file of the test.
            test: the test's id, as pytest has it.
            updates: whether what differs is to be accepted.
            label: which of its snapshots, where it has several.
        """
        self._tests = tests
        self._file = file_of(tests)
        self._test = test
        name = test.partition("::")[2] or test
        self._key = name if label is None else f"{name}{OF_LABEL}{label}"
        self._updates = updates
        self._lines: list[str] = []
        self._entries: dict[str, Entry] = {}

    def __call__(self, label: str) -> CostSnapshot:
        """Another snapshot of the same test."""
        other = CostSnapshot(self._tests, self._test, updates=self._updates, label=label)
        other._entries = self._entries
        return other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CapturedSteps):
            return NotImplemented
        now = entry_of(other)
        before = read(self._file).get(self._key)
        self._lines = [] if before is None else differences(before, now)
        is_same = before is not None and not self._lines
        # One that is the same stays as it is: a reviewed file changes where something has changed.
        self._entries[self._key] = before if before is not None and is_same else now
        if before is None:
            self._lines = [f"there is no cost snapshot of {self._key} in {self._file.name}", *self._how("To write it")]
        elif self._lines:
            named = f"{self._key} is not what {self._file.parent.name}/{self._file.name} says it costs:"
            self._lines = [named, *(f"  {line}" for line in self._lines), *self._how("To accept it")]
        return is_same or self._updates

    __hash__ = None  # type: ignore[assignment]  # it is equal to what has another hash

    def explain(self) -> list[str]:
        """What was different, when it was last compared."""
        return list(self._lines)

    def used(self) -> dict[str, Any]:
        """What was compared, in plain values: a process with tests sends it to the one that writes the files."""
        return {"file": str(self._file), "test": self._test, "entries": self._entries}

    def _how(self, to_do: str) -> list[str]:
        return [f"{to_do}: pytest {shlex.quote(self._test)} {UPDATE}"]

    def __repr__(self) -> str:
        return f"<cost snapshot of {self._key}>"
