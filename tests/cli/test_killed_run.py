"""A program of four processes is killed at any moment: the command prints what was settled, and what was in flight."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("openai")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROGRAM = """
import multiprocessing, os, signal, sys
from agent import plan

def work():
    while True:
        plan("x")

if __name__ == "__main__":
    os.setpgrp()  # what is killed is the program, and not the command
    for _ in range(3):
        multiprocessing.get_context("fork").Process(target=work).start()
    for _ in range(int(sys.argv[1])):
        plan("x")
    os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 9])
def test_the_sum_of_a_killed_program_is_what_was_settled(app, ask, provider, calls):
    ask()
    app.write("main.py", PROGRAM)

    done = app.run("python", "main.py", str(calls), options=("--json", "run.json"))

    total = app.result()["total"]
    assert done.returncode == -9
    assert total["calls"] >= calls
    # The provider has answered what was settled, and of the rest only what was in flight.
    assert total["calls"] <= len(provider.received) <= total["calls"] + total["open_calls"]
    assert total["open_calls"] <= 4
    assert (total["input_tokens"], total["output_tokens"]) == (100 * total["calls"], 20 * total["calls"])
    assert total["cost_picousd"] == 27_000_000 * total["calls"]
