"""Spending without a client."""

from __future__ import annotations

import os
from collections.abc import Callable

from otel_harn_steps import StepBudgetExceeded, record_llm_usage


def spend(tokens=130, usd=0.0, model="m"):
    record_llm_usage(model, tokens - tokens // 4, tokens // 4, usd)


def is_refused_in_a_fork(*asking: Callable[[], object]) -> bool:
    """Whether one of these calls, one after the other, is refused in a forked child."""
    pid = os.fork()
    if not pid:
        try:
            for ask in asking:
                ask()
        except StepBudgetExceeded:
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
