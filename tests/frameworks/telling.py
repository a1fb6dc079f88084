"""What the stand-in was sent, with and without the line by which a model is told what is left of its budget."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

import otel_harn_steps
from tests.frameworks.stand_in import Provider, Said

LINE = re.compile(r"Budget: [^\n]* left\. Finish\.")
SYSTEM = ("system", "developer")
TELL = {"max_tokens": 1_000, "at": {"0.2": "tell"}}
"""A budget of which the answers below have spent a share that is told from the third call on."""
LINES = [[], [], ["Budget: 760 tokens left. Finish."], ["Budget: 640 tokens left. Finish."]]
"""The lines in the system prompts of the four calls."""
ANSWERS = (*(Said(tool="search", arguments={"query": query}) for query in ("salt", "oil", "rice")), Said("found"))


def system_lines(body: dict[str, Any]) -> list[str]:
    """The lines in what the system says in a request."""
    said = [message["content"] for message in body["messages"] if message["role"] in SYSTEM]
    return LINE.findall("\n".join(text if isinstance(text, str) else json.dumps(text) for text in said))


def lines_of(provider: Provider) -> list[list[str]]:
    """Of each request that the stand-in has received, the lines in its system prompt. No other message has one."""
    bodies = [received.json() for received in provider.received]
    found = [system_lines(body) for body in bodies]
    assert [LINE.findall(json.dumps(body)) for body in bodies] == found
    return found


def without_lines(body: bytes) -> dict[str, Any]:
    """A request as it would be without the line."""
    whole: dict[str, Any] = json.loads(body)
    for message in whole["messages"]:
        if message["role"] in SYSTEM and isinstance(message["content"], str):
            message["content"] = re.sub(rf"\n?{LINE.pattern}", "", message["content"])
    whole["messages"] = [each for each in whole["messages"] if each["role"] not in SYSTEM or each["content"]]
    return whole


def told_only(provider: Provider, run: Callable[[], object]) -> None:
    """An agent "finder" is told what is left, at the end of its system prompt, and nothing else of what it sends changes.

    Args:
        provider: who is asked.
        run: asks four times.
    """
    bare = _requests(provider, run)
    untold = _requests(provider, run, {"max_tokens": 1_000, "at": {"0.2": "notify"}})
    told = _requests(provider, run, TELL)
    assert lines_of(provider) == LINES
    assert untold == bare
    assert told[:2] == bare[:2]
    assert [without_lines(body) for body in told] == [json.loads(body) for body in bare]


def finds_its_loop(provider: Provider, run: Callable[[], object]) -> None:
    """A budget finds that an agent "finder" repeats itself after as many calls as if its model were not told."""
    calls = []
    for action in ("notify", "tell"):
        provider.forget()
        provider.says("Finder", Said(tool="search", arguments={"query": "salt"}))
        declare = {"budget": {"max_tokens": 5_000, "loop": 3, "at": {"0.04": action}}}
        otel_harn_steps.reset_steps()
        otel_harn_steps.register_step_from_dict("finder", declare)
        otel_harn_steps.instrument(frameworks="auto")
        try:
            with pytest.raises(otel_harn_steps.StepBudgetExceeded) as caught:
                run()
        finally:
            otel_harn_steps.uninstrument()
            otel_harn_steps.reset_steps()
        assert caught.value.limit == "loop"
        calls.append(len(provider.received))
    assert calls[0] == calls[1]
    assert lines_of(provider)[-1] != []


def _requests(provider: Provider, run: Callable[[], object], budget: dict[str, Any] | None = None) -> list[bytes]:
    """What is sent where the framework's agents are no steps, or where "finder" is one that has a budget."""
    provider.forget()
    provider.says("Finder", *ANSWERS)
    otel_harn_steps.reset_steps()
    if budget is not None:
        otel_harn_steps.register_step_from_dict("finder", {"budget": budget})
    otel_harn_steps.instrument(frameworks=[] if budget is None else "auto")
    try:
        with otel_harn_steps.step("around"):  # in a step, streams are asked for their usage
            run()
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    return [received.body for received in provider.received]
