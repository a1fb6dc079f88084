"""The budgets of a configuration file, by the names that the ledger has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import escape

from otel_harn_steps._steps.budget import LIMITS
from otel_harn_steps.config._plan import Plan, PlannedStep
from otel_harn_steps.store._meter import Rule

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def rules_of(plan: Plan) -> list[Rule]:
    """Each budget of the file that has a limit: of its steps, then of its agents."""
    steps = [_rule_of(step) for step in plan.steps if _is_limited(step.options.get("budget"))]
    agents = [
        Rule(name=name, kind="agent", scope="tree", limits=limits, where=f'agents."{name}"')
        for name, limits in plan.agents.items()
    ]
    return [*steps, *agents]


def _is_limited(budget: object) -> bool:
    return isinstance(budget, dict) and any(budget.get(name) is not None for name in LIMITS)


def _rule_of(step: PlannedStep) -> Rule:
    return Rule(
        name=name_of(step),
        scope="tree" if step.options.get("scope") == "tree" else "step",
        limits=step.options["budget"],
        where=step.where,
    )


def name_of(step: PlannedStep) -> str:
    """The name that a step of the file has in the ledger, or a pattern: its own, else its function's."""
    if step.name is None:
        return step.pattern.rpartition(".")[2]
    if not step.target:  # the name is the framework's, as it is
        return escape(step.name)
    return "".join(_pieces(step.name))


def _pieces(name: str) -> Iterator[str]:
    """The name with `*` for each placeholder."""
    at = 0
    for found in _PLACEHOLDER.finditer(name):
        yield escape(name[at : found.start()])
        yield found[0][0] if found[0] in ("{{", "}}") else "*"
        at = found.end()
    yield escape(name[at:])


def targets_of(plan: Plan) -> dict[str, str]:
    """The functions of the file, by the names of their steps; without those whose names or functions are patterns."""
    return {
        name: step.target
        for step in plan.steps
        if step.target and not step.is_pattern and "{" not in (name := step.name or name_of(step))
    }
