"""OpenLLMetry (Traceloop): opentelemetry-instrumentation-openai and -anthropic."""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace, Call


class TestOpenLLMetry(AtPeace):
    peer = "openllmetry"

    def spans_of_ours(self, ours: Call, bare: Call) -> set[int]:
        # The span of a response is made when the answer is there, so whether there will be one is a guess: of
        # `AsyncResponses.create` there is none, and after `uninstrument()` there still are some.
        return {0, 1} if "openai.responses" in ours["call"] else super().spans_of_ours(ours, bare)

    def ends_early(self, ours: Call) -> bool:
        is_late = "openai.responses" in ours["call"] or ours["call"].endswith("raw.parse")
        return is_late or super().ends_early(ours)
