"""OpenTelemetry's own: opentelemetry-instrumentation-genai-openai and -genai-anthropic.

The anthropic client traces itself too, so with the latter its calls have two spans, of which none is ours.
"""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace


class TestGenAI(AtPeace):
    peer = "genai"
