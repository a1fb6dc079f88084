"""The folder that the processes of one `otel-harn-steps run` share. It is private, and gone when the command ends."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from otel_harn_steps.config._plan import Plan


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What `run` passes to the processes below it, and what they report to `run`."""

    path: Path

    @classmethod
    def create(cls, plan: Plan, *, with_sdk: bool) -> RunFolder:
        """A new folder with a plan that has been checked: no process below reads the configuration file again."""
        folder = cls(Path(tempfile.mkdtemp(prefix="otel-harn-steps-")))
        content = {"plan": plan.to_json(), "with_sdk": with_sdk}
        (folder.path / "run.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    def read(self) -> tuple[Plan, bool]:
        """The plan, and whether to set up the SDK."""
        content = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return Plan.from_json(content["plan"]), bool(content["with_sdk"])

    def note_seen(self, number: int) -> None:
        """The target of this step has appeared in this process."""
        descriptor = os.open(self.path / "seen", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, f"{number}\n".encode())
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
        shutil.rmtree(self.path, ignore_errors=True)
