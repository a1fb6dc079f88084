"""The anthropic client's own tracing, which is on unless it is switched off."""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace, Call, Run, inference_spans, ours_are_in


class TestOwnTracing(AtPeace):
    peer = "anthropic-own"
    environment = "genai"
    programs = ("O.o.O.",)


class TestOwnTracingSwitchedOff(TestOwnTracing):
    variables = {"ANTHROPIC_OPEN_TELEMETRY": "false"}  # noqa: RUF012 -- of the matrix

    def test_the_client_makes_no_span_and_ours_stands_in(self, runs: list[Run]) -> None:
        calls: list[Call] = [call for run in runs for call, _ in run.pairs if ours_are_in(call["so_far"])]
        assert [span["scope"] for call in calls for span in inference_spans(call)] == ["otel_harn_steps"] * len(calls)
