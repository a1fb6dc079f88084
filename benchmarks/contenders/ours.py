"""otel_harn_steps: a span per step and per call, budgets that are checked, pricing, record. Metrics: no SDK for them."""
from fakes import Contender
from otel_harn_steps import instrument, step

BUDGET = {"max_tokens": 10**12, "max_usd": 1e9}


class C(Contender):
    venv = "ours"
    call_spans = True

    def setup(self, tel):
        tel.provider()
        instrument(call_spans=self.call_spans)

    def step(self, name):
        return step(name, budget=BUDGET)
