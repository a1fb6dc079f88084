"""The walk of a response through the package: from the client's file to the record, past few rooms."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import otel_harn_steps
from tests.instrumented import Instrumented
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of

PACKAGE = Path(otel_harn_steps.__file__).parent
HARNESS = "testing"
NO_ROOM_ON_THE_WAY = (PACKAGE, PACKAGE / "_guard")


class Walk:
    """The folders that are entered from where a client's file has parsed a response to where the record is made."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        self._has_parsed = self._has_record = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if not file.is_relative_to(PACKAGE) or file.parent in NO_ROOM_ON_THE_WAY:
            return
        folder = file.relative_to(PACKAGE).parts[0]
        if event == "return" and folder == "_clients" and frame.f_code.co_name == "parse":
            self._has_parsed = True
        elif event == "call" and self._has_parsed and not self._has_record and folder != HARNESS:
            self.folders += [folder] if folder not in self.folders else []
            self._has_record = frame.f_code.co_name == "completed_step"


def test_a_response_passes_four_rooms_from_its_client_to_the_record(
    sync_clients: Clients, replay: object, instrumented: Instrumented
) -> None:
    asked = case("openai.chat-completions.sync_chat_completions_version_latest")
    trip, walk = Trip(asked, ways_of(asked)[0]), Walk()
    with instrumented() as package:
        before = sys.getprofile()
        sys.setprofile(walk)
        try:
            with package.step("s"):
                sync_clients.mode.run(travel(trip, sync_clients, replay))
        finally:
            sys.setprofile(before)
        (record,) = package.drain_completed_steps()
    assert record.llm_calls == 1
    assert sorted({*walk.folders} - {"_guard"}) == ["_calls", "_cost", "_steps", "_telemetry"]
