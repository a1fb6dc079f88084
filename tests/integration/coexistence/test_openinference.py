"""OpenInference (Arize): openinference-instrumentation-openai and -anthropic.

The former wraps `OpenAI.request`, and leaves there what it found when it goes: without care, calls would pass us by.
"""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace


class TestOpenInference(AtPeace):
    peer = "openinference"
