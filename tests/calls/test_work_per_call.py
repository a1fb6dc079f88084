"""How much of ours runs for a step and for a call: counted in Python calls, which are the same on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import pytest

import otel_harn_steps
from otel_harn_steps import step
from otel_harn_steps.testing import ReplayServer
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.runs import Trip, travel
from tests.replay.ways import ways_of

OURS = str(Path(otel_harn_steps.__file__).parent)
NOT_OF_A_CALL = str(Path(OURS, "testing"))
CHAT = case("openai.chat-completions.chat_tools")
TRIP = next(Trip(CHAT, way) for way in ways_of(CHAT) if way.name == "create")

MOST_OF_A_STEP_WITH_A_CALL = 142
"""What it takes now. Who makes it less, lowers this; who needs more, says in the commit what for."""
MOST_OF_A_STEP = 38


def calls_of_ours(do: Callable[[], object]) -> int:
    """How many Python functions of this package are called while `do` runs."""
    number = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal number
        name = frame.f_code.co_filename
        number += event == "call" and name.startswith(OURS) and not name.startswith(NOT_OF_A_CALL)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        do()
    finally:
        sys.setprofile(before)
    return number


@pytest.fixture
def chat(sync_clients: Clients, replay: ReplayServer, steps: object) -> Callable[[], None]:
    """One call, which has been made before: what is prepared once is prepared."""

    def call() -> None:
        sync_clients.mode.run(travel(TRIP, sync_clients, replay))

    with step("before"):
        call()
    return call


def test_a_step_with_one_call_is_no_more_work_than_it_was(chat: Callable[[], None]) -> None:
    @step("s", max_tokens=10**9, max_usd=10**6)
    def one() -> None:
        chat()

    one()
    assert calls_of_ours(one) <= MOST_OF_A_STEP_WITH_A_CALL


def test_a_step_without_a_call_is_no_more_work_than_it_was(steps: object) -> None:
    @step("s", max_tokens=10**9, max_usd=10**6)
    def none() -> None:
        pass

    none()
    assert calls_of_ours(none) <= MOST_OF_A_STEP


def test_a_call_within_fifty_nested_steps_is_at_most_twice_the_work_of_a_call_in_one(chat: Callable[[], None]) -> None:
    def work_within(depth: int) -> int:
        with ExitStack() as entered:
            for number in range(depth):
                entered.enter_context(step(f"s{number}", max_tokens=10**9))
            chat()
            return calls_of_ours(chat)

    assert work_within(50) <= 2 * work_within(1)
