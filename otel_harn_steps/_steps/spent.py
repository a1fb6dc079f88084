"""What an account shows of its totals."""

from __future__ import annotations

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._steps.totals import Tally


class Spent:
    """Totals by their public names.

    Attributes:
        own: what its own calls spent.
        subtree: the same with all that is nested in it.
    """

    __slots__ = ("own", "subtree")

    own: Tally
    subtree: Tally

    @property
    def input_tokens(self) -> int:
        """Input tokens of its own calls, cached ones included."""
        return self.own.input_tokens

    @property
    def output_tokens(self) -> int:
        """Output tokens of its own calls, reasoning included."""
        return self.own.output_tokens

    @property
    def cost_usd(self) -> float:
        """US dollars of its own priced calls."""
        return to_usd(self.own.cost_picousd)

    @property
    def llm_calls(self) -> int:
        """Calls billed to it, and to nothing nested in it."""
        return self.own.llm_calls

    @property
    def unpriced_calls(self) -> int:
        """Own calls whose price is unknown."""
        return self.own.unpriced_calls

    @property
    def unmetered_calls(self) -> int:
        """Own calls whose usage is unknown, or known in part."""
        return self.own.unmetered_calls

    @property
    def observed_calls(self) -> int:
        """Own calls that no patched client made: their usage is what another instrumentation's span reported."""
        return self.own.observed_calls

    @property
    def estimated_tokens(self) -> int:
        """What a budget assumes that own calls used beyond what was reported. In no other number."""
        return self.own.estimated_tokens

    @property
    def estimated_cost_usd(self) -> float:
        """US dollars that a budget assumes for what is not known of own calls. In no other number."""
        return to_usd(self.own.estimated_picousd)

    @property
    def total_input_tokens(self) -> int:
        """Input tokens of this account and all nested ones."""
        return self.subtree.input_tokens

    @property
    def total_output_tokens(self) -> int:
        """Output tokens of this account and all nested ones."""
        return self.subtree.output_tokens

    @property
    def total_cost_usd(self) -> float:
        """US dollars of this account and all nested ones."""
        return to_usd(self.subtree.cost_picousd)

    @property
    def total_llm_calls(self) -> int:
        """Calls billed to this account and all nested ones."""
        return self.subtree.llm_calls
