"""opentelemetry-instrumentation-openai-v2, the one before -genai-openai. It breaks raw streams, with us and without."""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace


class TestOpenAIV2(AtPeace):
    peer = "openai-v2"
