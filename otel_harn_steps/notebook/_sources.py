"""Where a report is from: the records of this process, or a folder of journals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.notebook._of_records import report_of, step_runs_of
from otel_harn_steps.store import Filter, Report, StepRun

if TYPE_CHECKING:
    from otel_harn_steps.store._store import Store


class Source(Protocol):
    """What can be asked."""

    @property
    def where(self) -> str:
        """What it is, for the reader."""

    @property
    def hint(self) -> str:
        """What to do where there is nothing in it."""

    def report(self, by: str, chosen: Filter) -> Report:
        """Spend by something."""

    def step_runs(self, chosen: Filter) -> list[StepRun]:
        """Every run of a step."""

    def calls(self, chosen: Filter) -> list[CallRow]:
        """Every call."""


@dataclass(frozen=True, slots=True)
class OfRecords:
    """Records of steps that have ended."""

    records: Sequence[CompletedStep]
    where: str
    hint: str = "no step has ended yet: enter one with step(...), after instrument()"

    def report(self, by: str, chosen: Filter) -> Report:
        """Spend by something."""
        return report_of([each for each in self.records if _is_chosen(each, chosen)], by, chosen)

    def step_runs(self, chosen: Filter) -> list[StepRun]:
        """Every run of a step."""
        runs = step_runs_of(self.records)
        kept = {each.step_id for each in self.records if _is_chosen(each, chosen)}
        return [each for each in runs if each.step_id in kept]

    def calls(self, chosen: Filter) -> list[CallRow]:  # noqa: ARG002 -- as every source has it
        """Never: records hold what calls have spent together.

        Raises:
            ValueError: always.
        """
        raise ValueError("records hold no single calls: keep them with a Journal, and ask for report(records=FOLDER)")


def _is_chosen(record: CompletedStep, chosen: Filter) -> bool:
    when = record.start_time
    return (
        (chosen.since is None or when >= chosen.since)
        and (chosen.until is None or when < chosen.until)
        and (chosen.run is None or record.run_id == chosen.run)
        and _matches(chosen.steps, record.name, record.path)
        and _matches(chosen.agents, record.agent or "")
        and _matches(chosen.models, *(each.model or "" for each in record.by_model))
        and _matches(chosen.providers, *(each.provider for each in record.by_model))
        and all(record.labels.get(name) == value for name, value in chosen.labels.items())
    )


def _matches(patterns: Sequence[str], *names: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


@dataclass(frozen=True, slots=True)
class OfFolder:
    """The journals of a folder."""

    folder: Path
    hint: str = "nothing is recorded: otel-harn-steps run python agent.py, or instrument(sinks=[Journal(FOLDER)])"

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.folder)

    def report(self, by: str, chosen: Filter) -> Report:
        """Spend by something."""
        with self._opened() as store:
            return store.report(by, chosen)

    def step_runs(self, chosen: Filter) -> list[StepRun]:
        """Every run of a step."""
        with self._opened() as store:
            return list(store.step_runs(chosen))

    def calls(self, chosen: Filter) -> list[CallRow]:
        """Every call."""
        with self._opened() as store:
            return list(store.calls(chosen))

    def _opened(self) -> Store:
        try:
            from otel_harn_steps.store._store import Store  # noqa: PLC0415 -- needs an extra
        except ModuleNotFoundError as error:
            needed = f"reading a folder of records needs {error.name}: pip install 'otel-harn-steps[cli]'"
            raise ModuleNotFoundError(needed, name=error.name) from error
        store = Store(self.folder)
        store.update()
        return store
