"""A child that was forked within a step: what it spends amends the step, from the child."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import JsonLinesSink, StepBudgetExceeded, record_llm_usage, step
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import instrumented
from tests.provider import PRICES, Provider, provider

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


@pytest.fixture
def llm(replay: ReplayServer, records: Path) -> Iterator[Provider]:
    harn.reset_steps()
    with instrumented(sinks=[JsonLinesSink(records)], prices=PRICES), provider(replay) as made:
        yield made


def read(records: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in records.read_text().splitlines()]


_asking: list[Any] = []
"""How the workers of a pool ask: they have it from the fork."""


def ask(number: int) -> int:
    return _asking[-1](100 + number, number).usage.total_tokens


def test_the_calls_of_a_pool_within_a_step_amend_the_step(llm: Provider, records: Path) -> None:
    _asking[:] = [llm.ask]
    with step("outer"), step("fans out", max_usd=100) as active:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(ask, range(8)) == [100 + 2 * number for number in range(8)]
    found = read(records)
    own = [record for record in found if record["llm_calls"]]
    assert len(own) == 8
    assert {(record["name"], record["amends"], record["status"]) for record in own} == {
        ("fans out", active.step_id, "running")
    }
    assert sum(round(record["cost_usd"] * 10**12) for record in found) == llm.handed_out.cost_picousd
    roots = [record for record in found if record["name"] == "outer"]
    assert sum(record["total_input_tokens"] for record in roots) == llm.handed_out.input_tokens
    assert [record["name"] for record in found if record["amends"] is None] == ["fans out", "outer"]


def in_child(work: Any) -> None:
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_step_of_the_child_is_whole_and_the_steps_above_it_get_its_totals(llm: Provider, records: Path) -> None:
    def work() -> None:
        with step("in child"):
            llm.ask(10, 5)

    with step("outer") as outer:
        in_child(work)
    found = {(record["name"], record["amends"] is not None): record for record in read(records)}
    assert found["in child", False]["parent_id"] == outer.step_id
    assert (found["in child", False]["llm_calls"], found["in child", False]["path"]) == (1, "outer/in child")
    assert (found["outer", True]["llm_calls"], found["outer", True]["total_llm_calls"]) == (0, 1)
    assert (found["outer", False]["total_llm_calls"], len(found)) == (0, 3)


def test_a_child_is_held_to_the_budget_of_its_step(llm: Provider) -> None:
    def work() -> None:
        with pytest.raises(StepBudgetExceeded):
            llm.ask(100, 50)

    with step("s", max_tokens=100):
        in_child(work)


def test_a_run_begins_at_zero_in_a_child() -> None:
    def work() -> None:
        record_llm_usage("m", 1, 1, 0.25)
        assert (account.cost_usd, account.llm_calls) == (0.25, 1)

    with harn.run("r") as account:
        record_llm_usage("m", 1, 1, 0.5)
        in_child(work)
        assert account.cost_usd == 0.5


def test_a_fork_while_another_thread_bills_leaves_no_lock_held(llm: Provider) -> None:
    def work() -> None:
        for _ in range(3):
            record_llm_usage("m", 1, 1, 0.25)

    holds, lets_go = threading.Event(), threading.Event()

    with harn.run("r"), step("s") as active:

        def hold() -> None:
            with active.tree.lock:
                holds.set()
                lets_go.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        holds.wait()
        try:
            in_child(work)
        finally:
            lets_go.set()
            thread.join()
