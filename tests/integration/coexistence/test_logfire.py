"""Logfire: `instrument_openai` and `instrument_anthropic`, which put plain functions around `request`.

A stream has two spans of theirs: the request, and a record of what was streamed.
"""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace


class TestLogfire(AtPeace):
    peer = "logfire"
