"""Logfire: `instrument_openai` and `instrument_anthropic`, which put plain functions around `request`.

A stream has two spans of theirs: the request, and a record of what was streamed.
"""

from __future__ import annotations

from tests.integration.coexistence.matrix import AtPeace, Call


class TestLogfire(AtPeace):
    peer = "logfire"

    def ends_early(self, ours: Call) -> bool:
        is_read_later = ours["is_stream"] or ours["call"].endswith("streaming.json")
        return ours["client"] == "openai" and is_read_later
