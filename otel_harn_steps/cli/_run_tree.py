"""The steps of a run as a tree, in which many siblings of one name are one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from otel_harn_steps.store import Spend, StepRun

MOST_SIBLINGS: Final = 5
"""So many siblings of one name have a line each; more are one line."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree: one run of a step, or many siblings of one name.

    Attributes:
        depth: how many steps are around it.
        runs: the runs of the step, in the order in which they began.
    """

    depth: int
    runs: Sequence[StepRun]

    @property
    def name(self) -> str:
        """The step's name."""
        return self.runs[0].name

    @property
    def path(self) -> str:
        """The step's path."""
        return self.runs[0].path

    @property
    def own(self) -> Spend:
        """What their own calls have spent."""
        return _sum(run.own for run in self.runs)

    @property
    def total(self) -> Spend:
        """What they have spent with the steps below them."""
        return _sum(run.total for run in self.runs)

    @property
    def statuses(self) -> Counter[str]:
        """How they have ended."""
        return Counter(run.status for run in self.runs)


def branches(steps: Sequence[StepRun], most_siblings: int | None = MOST_SIBLINGS) -> Iterator[Branch]:
    """The lines of the tree, each after the one that it is below.

    Args:
        steps: of one run.
        most_siblings: so many of one name have a line each. None: all have.
    """
    known = {step.step_id for step in steps}
    below: dict[str | None, list[StepRun]] = {}
    for step in steps:
        # A parent may be missing: its journal is damaged, or was deleted.
        parent = step.parent_id if step.parent_id in known and step.parent_id != step.step_id else None
        below.setdefault(parent, []).append(step)
    waiting = [Branch(0, group) for group in reversed(_groups(below.get(None, ()), most_siblings))]
    while waiting:
        branch = waiting.pop()
        yield branch
        children = [child for run in branch.runs for child in below.get(run.step_id, ())]
        waiting += [Branch(branch.depth + 1, group) for group in reversed(_groups(children, most_siblings))]


def _groups(siblings: Sequence[StepRun], most: int | None) -> list[list[StepRun]]:
    counts = Counter(step.name for step in siblings)
    groups: list[list[StepRun]] = []
    large: dict[str, list[StepRun]] = {}
    for step in siblings:
        if most is None or counts[step.name] <= most:
            groups.append([step])
        elif step.name in large:
            large[step.name].append(step)
        else:
            large[step.name] = [step]
            groups.append(large[step.name])
    return groups


def _sum(spends: Iterator[Spend]) -> Spend:
    total = Spend()
    for each in spends:
        total.add(each)
    return total
