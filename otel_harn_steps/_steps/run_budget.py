"""The budget of a run, as its processes pass it on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from otel_harn_steps._steps.budget import Budget
from otel_harn_steps._steps.shared_amounts import SharedLimits
from otel_harn_steps._steps.shared_spending import SharedSpending

_logger = logging.getLogger("otel_harn_steps")
OF_A_RUN: Final[Mapping[str, str]] = MappingProxyType({"preflight": "reserve", "on_contention": "wait"})
"""How the budget of a whole program is held, unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class RunBudget:
    """What all processes of a run may spend together.

    Attributes:
        limits: the budget.
        file: where they count. None: each counts for itself.
        started_s: when the run began, by the monotonic clock, which is the same in all processes of a machine.
        folder: the folder that was made for the file.
    """

    limits: Budget
    file: str | None
    started_s: float
    folder: str | None = None

    @classmethod
    def create(cls, limits: Budget) -> RunBudget:
        """A budget in a file of its own, which `remove` takes away."""
        import os  # noqa: PLC0415 -- with the next: only where there is a limit
        import tempfile  # noqa: PLC0415

        folder = tempfile.mkdtemp(prefix="otel-harn-steps-")
        return cls(limits, os.path.join(folder, "budget.sqlite"), monotonic(), folder)  # noqa: PTH118 -- slow to import

    @classmethod
    def of(cls, text: str | None) -> RunBudget | None:
        """What `to_text` wrote. None: there is no budget, or none that can be read, which is logged."""
        if not text:
            return None
        try:
            values = json.loads(text)
            return cls(Budget(**{**OF_A_RUN, **values["limits"]}), str(values["file"]), float(values["started_s"]))
        except (KeyError, TypeError, ValueError) as error:
            _logger.warning("the run's budget cannot be read, and is not held in this process: %s", error)
            return None

    def to_text(self) -> str:
        """The budget, for the environment of other processes."""
        how = {name: getattr(self.limits, name) for name in OF_A_RUN}
        return budget_text(self.limits.given() | how, self.file, self.started_s)

    def shared(self) -> SharedSpending | None:
        """This process's part in it. None: the file cannot be had, which is logged."""
        if self.file is None:
            return None
        # sqlite3 takes a millisecond or two to load: only where there is such a budget.
        from otel_harn_steps._steps.shared_budget import SharedBudget, SharedBudgetError  # noqa: PLC0415

        limits = SharedLimits.of(self.limits.given())
        try:
            return SharedSpending(SharedBudget(self.file), limits, reserves=self.limits.preflight == "reserve")
        except SharedBudgetError as error:
            _logger.warning("the budget of the run is held in each process for itself: %s", error)
            return None

    def remove(self) -> None:
        """Take the file away."""
        if self.folder is not None:
            import shutil  # noqa: PLC0415 -- as above

            shutil.rmtree(self.folder, ignore_errors=True)


def budget_text(limits: dict[str, Any], file: str | None, started_s: float) -> str:
    """A run's budget, for the environment of its processes.

    Args:
        limits: what differs from a budget without limits, by its keys; dollars are numbers or decimal text.
        file: where they count.
        started_s: when the run began, by the monotonic clock.
    """
    return json.dumps({"limits": limits, "file": file, "started_s": started_s}, default=float)
