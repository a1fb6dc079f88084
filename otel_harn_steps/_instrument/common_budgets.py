"""Budgets that several steps have in common, those of agents and of labels: imported where there are some."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_AGENTS = "otel_harn_steps._steps.agents"
_LABEL_BUDGETS = "otel_harn_steps._steps.label_budgets"


def use_common_budgets(
    source: str, agents: Mapping[str, Any] | None = None, budgets: Mapping[str, Any] | None = None
) -> None:
    """Put the budgets of a source in force, in place of those that it gave before.

    Args:
        source: "code" or "file".
        agents: budgets by the name of an agent, or by a pattern. None: no more.
        budgets: budgets of a label's values, by name. None: no more.
    """
    if agents or _AGENTS in sys.modules:
        from otel_harn_steps._steps.agents import use_agents  # noqa: PLC0415 -- as the module says

        use_agents(source, agents)
    if budgets or _LABEL_BUDGETS in sys.modules:
        from otel_harn_steps._steps.label_budgets import use_label_budgets  # noqa: PLC0415 -- as the module says

        use_label_budgets(source, budgets)
