"""Back to the beginning, for tests."""

from __future__ import annotations

from otel_harn_steps._guard.finalisers import finish_freed
from otel_harn_steps._instrument.unseen_counts import forget_unseen_calls
from otel_harn_steps._steps.account import forget_warnings
from otel_harn_steps._steps.active import forget_bare_threads
from otel_harn_steps._steps.agents import forget_agents
from otel_harn_steps._steps.history import forget_outputs
from otel_harn_steps._steps.hooks import forget_hooks
from otel_harn_steps._steps.label_budgets import forget_label_budgets
from otel_harn_steps._steps.registry import forget_registered_steps
from otel_harn_steps._telemetry.delivery import log


def reset_steps() -> None:
    """Forget registered steps, hooks, records, unseen calls and warnings. For tests; steps that are running go on."""
    finish_freed()
    forget_outputs()
    forget_agents()
    forget_label_budgets()
    forget_hooks()
    forget_registered_steps()
    forget_warnings()
    forget_bare_threads()
    forget_unseen_calls()
    from otel_harn_steps._telemetry.sink_queue import forget_dropped_sink_events  # noqa: PLC0415 -- only for tests

    forget_dropped_sink_events()
    log.clear()
