"""Loops of agents: found at the repetition that was asked for, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_harn_steps._calls.fingerprints import answer_fingerprint, request_fingerprint
from otel_harn_steps._calls.loops import LoopWatch

SYSTEM = {"role": "system", "content": "You are a researcher."}


def asked(*messages: Any, **settings: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [SYSTEM, *(user(each) if isinstance(each, str) else each for each in messages)],
        **settings,
    }


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def turn(number: int, tool: str, *results: str) -> list[dict[str, Any]]:
    """What an agent appends: the call of a tool, and its results, with ids that are new each time."""
    calls = [{"id": f"{number}-{at}", "function": {"name": tool, "arguments": "{}"}} for at, _ in enumerate(results)]
    answers = [
        {"role": "tool", "tool_call_id": call["id"], "content": result}
        for call, result in zip(calls, results, strict=True)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *answers]


def conversation(*turns: tuple[str, ...], last: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    """The requests of an agent that makes these turns, one after the other."""
    requests, messages = [], [user("Find it.")]
    for number, (tool, *results) in enumerate(turns):
        requests.append(asked(*messages, *last))
        messages += turn(number, tool, *results)
    return [*requests, asked(*messages, *last)]


def found_at(calls: list[tuple[Any, str]], repetitions: int = 3) -> int | None:
    """Which call is the first that ends a loop, from 1."""
    watch = LoopWatch(repetitions)
    for number, (body, answer) in enumerate(calls, start=1):
        if watch.add(request_fingerprint(body), answer_fingerprint(answer)):
            return number
    return None


# -- loops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repetitions", [2, 3, 7])
def test_the_same_request_with_the_same_answer_is_a_loop(repetitions: int) -> None:
    assert found_at([(asked("a"), "yes")] * 9, repetitions) == repetitions


def test_a_loop_is_found_after_other_calls() -> None:
    others = [(asked(str(number)), "yes") for number in range(20)]
    assert found_at([*others, *[(asked("a"), "yes")] * 3]) == 23


def test_it_stays_one_as_long_as_it_goes_on() -> None:
    watch = LoopWatch(2)
    body, answer = request_fingerprint(asked("a")), answer_fingerprint("yes")
    other = request_fingerprint(asked("b"))
    assert [watch.add(each, answer) for each in (body, body, body, other, body)] == [False, True, True, False, False]


@pytest.mark.parametrize("period", [2, 3, 4])
def test_a_pattern_that_alternates_is_a_loop(period: int) -> None:
    pattern = [(asked(str(number)), "yes") for number in range(period)]
    assert found_at(pattern * 5) == 3 * period


def test_a_pattern_of_five_is_none() -> None:
    assert found_at([(asked(str(number)), "yes") for number in range(5)] * 5) is None


def test_the_same_answers_to_the_same_requests_in_another_order_are_none() -> None:
    calls = [(asked(name), "yes") for name in "abbaabbba"]
    assert found_at(calls) == 8  # three times b


def test_an_agent_that_calls_the_same_tool_again_and_again_is_a_loop() -> None:
    requests = conversation(*[("search", "nothing")] * 5)
    # The first request has no result yet. From the second on, each appends the same.
    assert found_at([(body, "search{}") for body in requests]) == 4


def test_an_agent_that_alternates_between_two_tools_is_a_loop() -> None:
    turns = [("open", "closed"), ("close", "opened")] * 4
    requests = conversation(*turns)
    assert found_at([(body, tool) for body, (tool, _) in zip(requests, [*turns, turns[0]], strict=True)]) == 7


def test_a_reminder_that_stays_at_the_end_hides_no_loop() -> None:
    requests = conversation(*[("search", "nothing")] * 5, last=(user("Remember the format."),))
    assert found_at([(body, "search{}") for body in requests]) == 4


def test_a_mark_for_a_cache_that_moves_hides_no_loop() -> None:
    requests = conversation(*[("search", "nothing")] * 5)
    for body in requests:
        body["messages"][-1] = {**body["messages"][-1], "cache_control": {"type": "ephemeral"}}
    assert found_at([(body, "search{}") for body in requests]) == 4


def test_a_retry_in_the_middle_of_a_conversation_that_loops_is_part_of_it() -> None:
    first, second, third, fourth = conversation(*[("search", "nothing")] * 3)
    assert found_at([(body, "search{}") for body in (first, second, second, third, fourth)]) == 4


def test_two_agents_that_loop_in_turns_are_a_loop() -> None:
    one, other = (conversation(*[(tool, "nothing")] * 5) for tool in ("search", "read"))
    calls = [call for pair in zip(one, other, strict=True) for call in ((pair[0], "search"), (pair[1], "read"))]
    assert found_at(calls) == 8


# -- no loops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "calls",
    [
        [(asked("a"), str(number)) for number in range(9)],
        [(asked(f"document {number}", "Answer yes or no."), "no") for number in range(9)],
        [(asked(*map(str, range(number)), "Is the customer angry?"), "no") for number in range(9)],
        [(asked("a", temperature=number / 10), "no") for number in range(9)],
        [(asked("a", model=str(number)), "no") for number in range(9)],
        [(asked(*["a"] * number, f"Step {number}."), "no") for number in range(9)],
        [({**asked("a"), "messages": [user(str(number)), user("a")]}, "no") for number in range(9)],
    ],
    ids=[
        "other answers",
        "many documents",
        "a growing record",
        "other settings",
        "other models",
        "a last message that changes",
        "other prompts",
    ],
)
def test_what_differs_in_one_thing_is_no_loop(calls: list[tuple[Any, str]]) -> None:
    assert found_at(calls, 2) is None


def test_polling_until_a_result_changes_is_no_loop() -> None:
    requests = conversation(*(("status", f"{number} %") for number in range(9)))
    assert found_at([(body, "status{}") for body in requests], 2) is None


def test_one_of_two_results_that_changes_is_enough() -> None:
    requests = conversation(*(("status", f"{number} %", "ok") for number in range(9)))
    assert found_at([(body, "status{}") for body in requests], 2) is None


def test_many_agents_that_begin_alike_are_no_loop() -> None:
    requests = [asked(f"document {number}", *more) for number in range(9) for more in ((), turn(0, "list", "[]"))]
    requests += [asked(f"document {number}", *more) for more in ((), turn(0, "list", "[]")) for number in range(3)]
    assert found_at([(body, "list{}") for body in requests], 2) is None


def test_what_cannot_be_compared_is_no_loop() -> None:
    assert found_at([(asked("a", file=object()), "no")] * 9, 2) is None


# -- any sequence ------------------------------------------------------------------------------------------------------


def repeats(names: str, repetitions: int) -> bool:
    """Whether the end of `names` is one to four letters, so many times."""
    return any(
        len(names) >= period * repetitions and names.endswith(names[len(names) - period :] * repetitions)
        for period in range(1, 5)
    )


@given(st.text("abc", max_size=40), st.integers(2, 5))
def test_every_pattern_is_found_exactly_at_its_last_repetition(names: str, repetitions: int) -> None:
    watch = LoopWatch(repetitions)
    answer = answer_fingerprint("yes")
    found = [watch.add(request_fingerprint(asked(name)), answer) for name in names]
    assert found == [repeats(names[:end], repetitions) for end in range(1, len(names) + 1)]


@given(st.text("abc", min_size=1, max_size=25), st.integers(2, 4))
def test_so_is_every_pattern_within_a_conversation(names: str, repetitions: int) -> None:
    watch = LoopWatch(repetitions)
    answer = answer_fingerprint("yes")
    requests = conversation(*((name, "result") for name in names))
    found = [watch.add(request_fingerprint(body), answer) for body in requests]
    assert found == [False, *(repeats(names[:end], repetitions) for end in range(1, len(names) + 1))]


@given(st.integers(2, 6), st.integers(0, 200))
def test_a_watch_stays_small(repetitions: int, calls: int) -> None:
    watch = LoopWatch(repetitions)
    for body in conversation(*(("search", str(number)) for number in range(calls % 60))):
        watch.add(request_fingerprint(body), b"")
    assert len(watch._asked) <= 4
    assert all(len(each.last) <= 4 and len(each.up_to) <= 5 for each in watch._asked)
