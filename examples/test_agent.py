"""What the agent of `agent.py` costs, over its recordings: `pytest examples`.

`__cost_snapshots__/test_agent.json` is reviewed like code. After a change that is meant to cost something else, write
it anew with `pytest examples --update-cost-snapshots`, and look at the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from stand_in import stand_in

from otel_harn_steps import StepEscalated
from otel_harn_steps.testing import CapturedSteps, CostSnapshot


@pytest.fixture(scope="module")
def agent() -> Iterator[ModuleType]:
    """The agent, with the recordings in place of its providers."""
    with stand_in() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", f"{url}/v1")
        environment.setenv("ANTHROPIC_BASE_URL", url)
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            environment.setenv(name, "not needed")
        for name in ("NO_PROXY", "no_proxy"):
            environment.setenv(name, "127.0.0.1")
        # Not at the top: the agent makes its clients when it is imported, and they read the environment.
        import agent  # noqa: PLC0415

        yield agent


@pytest.mark.step_budget(max_usd=0.05)
def test_an_issue_costs_what_was_accepted(agent: ModuleType, steps: CapturedSteps, cost_snapshot: CostSnapshot) -> None:
    """Its steps, their calls and models: a change of any of them is named."""
    agent.newsletter("Hello, world!")
    assert steps == cost_snapshot


def test_an_invitation_that_takes_long_costs_one_call(
    agent: ModuleType, steps: CapturedSteps, cost_snapshot: CostSnapshot
) -> None:
    """A budget that is crossed is a part of what is tested."""
    with pytest.raises(StepEscalated):
        agent.invite("The meeting is scheduled for March 15th at 2 PM.")
    assert steps.step("invite").own.calls == 1
    assert steps == cost_snapshot
