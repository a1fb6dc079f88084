"""What a configuration file says, checked and in plain values: what starts a process needs no model library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_harn_steps._steps.definition import StepDefinition


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One `[[steps]]` table.

    Attributes:
        target: the function, as "module:qualified.name", or a pattern on the qualified name; empty for the step of a
            framework, which has its name from there.
        where: the table's place, for messages: "harn-steps.toml:4".
        name: the step's name; None for the function's. May have placeholders for arguments: "tool:{tool_name}".
        allowed_values: by placeholder, the values that become part of the name. Others become "other".
        options: the other arguments of `StepDefinition`; its budget in plain values.
    """

    target: str
    where: str
    name: str | None = None
    allowed_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module that has to be imported for the target to exist."""
        return self.target.partition(":")[0]

    @property
    def pattern(self) -> str:
        """The qualified name of the function, or a pattern."""
        return self.target.partition(":")[2]

    @property
    def is_pattern(self) -> bool:
        """Whether the target may mean several functions."""
        return any(sign in self.pattern for sign in "*?[")

    def never_appeared(self) -> str:
        """The message for a program that has ended without the target."""
        if not self.target:
            return f"{self.where}: no step {self.name!r} of a framework has run"
        if self.module == "__main__":
            return f"{self.where}: target {self.target!r} has never appeared: the program itself has no such function"
        return (
            f"{self.where}: target {self.target!r} has never appeared: {self.module} was not imported; "
            "`otel-harn-steps doctor` says whether it can be"
        )

    def definition(self, function_name: str) -> StepDefinition:
        """The step that a function of this name becomes."""
        from otel_harn_steps._steps.definition import StepDefinition  # noqa: PLC0415 -- with the first step

        name = function_name if self.name is None else self.name
        return StepDefinition(name=name, function=function_name, **self.options)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole configuration file.

    Attributes:
        steps: what the file declares.
        frameworks: the frameworks whose agents, nodes and tasks are steps.
        agents: the budgets of agents, by name or pattern, in plain values.
        budgets: the budgets of labels, by their names, in plain values.
        options: the other arguments for `instrument()` that the file names.
        json_lines, log_events: the sinks that the file asks for.
        records: how long a run's records are kept: `keep_days`, `keep_mib`.
    """

    steps: tuple[PlannedStep, ...] = ()
    frameworks: tuple[str, ...] = ()
    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    json_lines: str | None = None
    log_events: bool = False
    records: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan in values that JSON can hold, for a process that shall not read the file again."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        return replace(cls(**values), steps=tuple(PlannedStep(**step) for step in values["steps"]))
