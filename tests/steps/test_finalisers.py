"""What of ours runs when an object is freed: it comes at any moment, and Python drops what interrupts it."""

from __future__ import annotations

import contextvars
import gc
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.guard.interrupting import Lines
from tests.steps.spending import spend

pytestmark = pytest.mark.interrupts
ROOT = Path(__file__).parent.parent.parent

# Objects are freed while Python changes a context, which frees what it changes if a finaliser changes that too. With
# this allocator, freed memory is overwritten, and a Python before 3.12 dies of it.
DROPPING = """
import contextvars, gc
from opentelemetry.context import attach, detach, set_value
import otel_harn_steps

for number in range(40):  # a context of some size
    contextvars.ContextVar(str(number)).set(number)

def enter():
    otel_harn_steps.step("s").__enter__()

contextvars.copy_context().run(enter)
gc.collect()
gc.freeze()  # all else, so that each collection looks at everything
gc.set_threshold(3, 1, 1)
for number in range(2000):
    contextvars.copy_context().run(enter)
    for _ in range(10):
        detach(attach(set_value("number", number)))
gc.collect()
print(*{record.status for record in otel_harn_steps.drain_completed_steps()})
"""


def test_a_step_that_is_freed_at_any_moment_ends_and_leaves_the_context_alone() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DROPPING],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONMALLOC": "debug"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "cancelled\n"), ran.stderr


@pytest.mark.usefixtures("own_faults_dropped")
def test_when_a_step_that_was_left_is_freed_nothing_of_ours_runs_that_would_lose_an_interrupt(
    steps: ModuleType,
) -> None:
    lost: list[Any] = []

    def work() -> None:
        with steps.step("s"):
            spend(1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def at(number: int) -> None:
        try:
            Lines(number, interrupt).run(work)
        except KeyboardInterrupt:
            return
        lost.append(seen[number])

    work()
    undisturbed = Lines()
    undisturbed.run(work)
    seen = undisturbed.seen
    gc.disable()  # a step that was interrupted before it could be left is freed in between
    gc.freeze()
    try:
        for number in range(len(seen) // 2, len(seen)):
            contextvars.copy_context().run(at, number)
            gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    assert lost == []
