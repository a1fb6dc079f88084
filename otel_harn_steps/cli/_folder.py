"""The folder that the processes of one `otel-harn-steps run` share. It is private, and gone when the command ends."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from otel_harn_steps.config._plan import Plan


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What `run` passes to the processes below it.

    Attributes:
        plan: what the configuration says, checked: no process below reads the file again.
        with_sdk: whether to set up the SDK.
        run_id, run_name: the run that they are part of.
        journal: the folder for their journals.
        budget: what all of them may spend together, by the names of a step's budget; in dollars and seconds. None
            where nothing is limited, else there is a `SharedBudget` at `RunFolder.budget`.
        started_s: when the run has begun, by the monotonic clock, which is the same in all processes.
    """

    plan: Plan
    with_sdk: bool
    run_id: str
    run_name: str
    journal: str
    budget: Mapping[str, float] | None = None
    started_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The terms in values that JSON can hold."""
        return asdict(self) | {"plan": self.plan.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunTerms:
        """The terms that `to_json` wrote."""
        return cls(**{**values, "plan": Plan.from_json(values["plan"])})


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What `run` passes to the processes below it, and what they report to `run`."""

    path: Path

    @classmethod
    def create(cls) -> RunFolder:
        """A new folder, for its owner alone."""
        import tempfile  # noqa: PLC0415 -- processes below `run` make none

        return cls(Path(tempfile.mkdtemp(prefix="otel-harn-steps-")))

    @property
    def journal(self) -> Path:
        """Where the journals are, if they are not to be kept."""
        return self.path / "journal"

    @property
    def budget(self) -> Path:
        """Where the processes count together what they spend, if that is limited."""
        return self.path / "budget.sqlite"

    def write(self, terms: RunTerms) -> None:
        """Write what the processes below shall know."""
        (self.path / "run.json").write_text(json.dumps(terms.to_json()), encoding="utf-8")

    def read(self) -> RunTerms:
        """What `write` wrote."""
        return RunTerms.from_json(json.loads((self.path / "run.json").read_text(encoding="utf-8")))

    def note_seen(self, number: int) -> None:
        """The target of this step has appeared in this process."""
        self._add_line("seen", str(number))

    def note_message(self, message: str) -> None:
        """Something is to be said to the user, at the end."""
        self._add_line("messages", " ".join(message.split()))

    def messages(self) -> list[str]:
        """What is to be said to the user, each once."""
        return list(dict.fromkeys(self._lines("messages")))

    def _add_line(self, name: str, line: str) -> None:
        descriptor = os.open(self.path / name, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))
        finally:
            os.close(descriptor)

    def seen(self) -> set[int]:
        """The steps whose target has appeared in any process."""
        return {int(line) for line in self._lines("seen")}

    def elsewhere(self) -> list[str]:
        """The Pythons that ran without us, and why."""
        return list(dict.fromkeys(self._lines("elsewhere")))

    def _lines(self, name: str) -> list[str]:
        try:
            return (self.path / name).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Remove the folder. Processes that outlive the command find nothing there, and go on."""
        import shutil  # noqa: PLC0415 -- as above

        shutil.rmtree(self.path, ignore_errors=True)
