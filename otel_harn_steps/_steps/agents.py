"""What the steps of an agent may spend together, in one run and one process."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from otel_harn_steps import _process
from otel_harn_steps._steps.account import Account
from otel_harn_steps._steps.budget import Budget, budget_of
from otel_harn_steps._steps.definition import StepDefinition
from otel_harn_steps._steps.together import count_together
from otel_harn_steps._steps.tree import COMMON

_MOST_AGENTS: Final = 10_000  # names made at run time must not fill the memory: the first of so many begins anew


class Agent(Account):
    """What the calls of an agent's steps are held against, besides the budgets of the steps themselves."""

    kind = "agent"

    __slots__ = ()


class _Agents:
    """The budgets of agents, and what each of them has spent in the run that is open."""

    def __init__(self, budgets: Mapping[str, Budget]) -> None:
        self.budgets = budgets
        self._run_id = _process.run_id
        self._accounts: dict[str, Agent] = {}

    def of(self, name: str) -> Agent | None:
        """The agent of that name. None: it has no budget."""
        if self._run_id != _process.run_id:
            self._run_id, self._accounts = _process.run_id, {}
        found = self._accounts.get(name)
        return self._opened(name) if found is None else found

    def _opened(self, name: str) -> Agent | None:
        budget = self.budgets.get(name)
        if budget is None:
            budget = next((each for pattern, each in self.budgets.items() if fnmatchcase(name, pattern)), None)
        if budget is None:
            return None
        opened = Agent(StepDefinition(name, name, scope="tree", budget=budget), None)
        with COMMON.lock:
            if len(self._accounts) >= _MOST_AGENTS:
                del self._accounts[next(iter(self._accounts))]
            return self._accounts.setdefault(name, opened)  # another thread may have found none as well


_declared: Final[dict[str, Mapping[str, Budget]]] = {}
_agents: _Agents | None = None
_last = _Agents({})


def use_agents(source: str, budgets: Mapping[str, Budget | Mapping[str, object]] | None = None) -> None:
    """Hold the budgets of one source ("code" or "file") from now on, by the agent's name or a pattern. None: no more.

    What was spent under the same budgets before counts.
    """
    global _agents, _last  # noqa: PLW0603 -- the one place that holds them
    _declared[source] = {name: budget_of(budget, {}) for name, budget in (budgets or {}).items()}
    declared = {**_declared.get("file", {}), **_declared.get("code", {})}
    if declared and declared != _last.budgets:
        _last = _Agents(declared)
    _agents = _last if declared else None
    # The steps of an agent may be anywhere: they are counted under one lock.
    count_together("agents", is_needed=_agents is not None)


def agent_of(name: str | None) -> Agent | None:
    """The agent of that name. None: it has no budget."""
    return None if _agents is None or name is None else _agents.of(name)


def forget_agents() -> None:
    """Begin at zero (tests)."""
    global _last  # noqa: PLW0603 -- as above
    _last = _Agents({})
