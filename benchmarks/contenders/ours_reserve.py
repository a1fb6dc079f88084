"""otel_harn_steps with budgets that are asked before each call, and that stop streams."""
from otel_harn_steps import step

from contenders.ours import BUDGET, C as Ours


class C(Ours):
    venv = "ours"

    def step(self, name):
        return step(name, budget=BUDGET | {"preflight": "reserve", "on_contention": "wait"})
