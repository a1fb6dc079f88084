"""What calls have spent, where, and what has not ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps._telemetry.journal_lines import JournalHeader


@dataclass(slots=True)
class Spend:
    """What some calls have spent together.

    Estimates are in the `estimated_*` fields alone. Tokens leave out what the provider did not report
    (`unmetered_calls`), costs leave out the `unpriced_calls`. The `unknown_calls` have neither a
    cost nor an estimate of one.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_picousd: int = 0
    priced_calls: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    unknown_calls: int = 0
    estimated_calls: int = 0
    estimated_tokens: int = 0
    estimated_cost_picousd: int = 0
    open_calls: int = 0

    @property
    def cost_usd(self) -> float | None:
        """US dollars. None: there are calls, and the price of none is known."""
        return to_usd(self.cost_picousd) if self.priced_calls or not self.calls else None

    def bill(self, row: CallRow) -> None:
        """Count a call that is billed."""
        self.calls += 1
        self.input_tokens += row.input_tokens or 0
        self.output_tokens += row.output_tokens or 0
        self.cache_read_tokens += row.cache_read_tokens
        self.cache_write_tokens += row.cache_write_tokens
        self.reasoning_tokens += row.reasoning_tokens
        has_usage = not (row.input_tokens is None and row.output_tokens is None)
        if row.cost_picousd is not None:
            self.priced_calls += 1
            self.cost_picousd += row.cost_picousd
        elif has_usage:
            self.unpriced_calls += 1
        if row.cost_picousd is None and not row.estimated_cost_picousd:
            self.unknown_calls += 1
        if row.input_tokens is None or row.output_tokens is None:
            self.unmetered_calls += 1
        if row.estimated_tokens or row.estimated_cost_picousd:
            self.estimated_calls += 1
            self.estimated_tokens += row.estimated_tokens
            self.estimated_cost_picousd += row.estimated_cost_picousd

    def add(self, other: Spend) -> None:
        """Add what another has spent."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_dict(self) -> dict[str, Any]:
        """The spend in plain JSON values."""
        return {"cost_usd": self.cost_usd} | {name: getattr(self, name) for name in _NAMES}


_NAMES: Final = tuple(each.name for each in fields(Spend))


def path_above(path: str, name: str) -> str:
    """The path of the step around the one with this path and name; empty for an outermost one."""
    if path.endswith(f"/{name}"):  # a name may have a slash
        return path.removesuffix(f"/{name}")
    return "" if path == name else path.rpartition("/")[0]


@dataclass(slots=True)
class StepSpend:
    """What a step, at one place of the tree, has spent by itself over all of its runs.

    Attributes:
        path: the names from the outermost step to this one; empty for the calls that no step claims.
        own: without the steps below it.
        open_runs: how many of its runs have not ended.
        statuses: how the others have ended.
        amendments: records of what came after a run had ended.
        breaches: how many records say that a limit was crossed.
        last_breach: the last of those records.
    """

    name: str
    path: str
    own: Spend = field(default_factory=Spend)
    open_runs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    amendments: int = 0
    breaches: int = 0
    last_breach: Mapping[str, Any] | None = None

    @property
    def parent_path(self) -> str:
        """The path of the step around it; empty for an outermost one."""
        return path_above(self.path, self.name)

    @property
    def runs(self) -> int:
        """How often it was entered."""
        return self.open_runs + self.statuses.total()

    def to_dict(self, total: Spend) -> dict[str, Any]:
        """The step in plain JSON values, with what it and all steps below it have spent."""
        return {
            "name": self.name,
            "path": self.path,
            "runs": self.runs,
            "open_runs": self.open_runs,
            "statuses": dict(self.statuses),
            "amendments": self.amendments,
            "breaches": self.breaches,
            "own": self.own.to_dict(),
            "total": total.to_dict(),
        }


@dataclass(slots=True)
class ProcessState:
    """A process of the run, and what it has begun and not ended: it is still at work, or was killed."""

    process_id: int | None
    parent_process_id: int | None
    program: str | None
    open_calls: dict[str, CallRow] = field(default_factory=dict)
    open_steps: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, header: JournalHeader | None) -> ProcessState:
        """The process that a file's header names."""
        if header is None:
            return cls(None, None, None)
        return cls(header.process_id, header.parent_process_id, header.program)

    def to_dict(self) -> dict[str, Any]:
        """The process in plain JSON values."""
        return {
            "process_id": self.process_id,
            "parent_process_id": self.parent_process_id,
            "program": self.program,
            "open_calls": [row.to_dict() for row in self.open_calls.values()],
            "open_steps": list(self.open_steps.values()),
        }
