"""A fork while other threads hold our locks: the child goes on. And what the garbage collector ends goes on, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import Journal
from otel_harn_steps._calls.jobs import jobs
from otel_harn_steps._process import new_id
from tests.instrumented import Instrumented, Spans
from tests.steps.spending import spend

ROOT = Path(__file__).parent.parent.parent
LOCKS = (type(threading.Lock()), type(threading.RLock()))
CHILD_S = 20


def locks_of_ours() -> list[Any]:
    """The locks that a process has once."""
    modules = [module for name, module in sys.modules.items() if name.startswith("otel_harn_steps.")]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, LOCKS)]
    return [*found, jobs._lock]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_holds_every_lock_goes_on(
    instrumented: Instrumented, spans: Spans, tmp_path: Path
) -> None:
    locks = locks_of_ours()
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        let_go.wait()
        for lock in locks:
            lock.release()

    with instrumented(sinks=[Journal(tmp_path)], tracer_provider=spans.provider) as steps:
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            try:
                _everything(steps, spans)
                os._exit(0)
            finally:
                os._exit(1)
        let_go.set()
        thread.join()
        code = _exit_code(child)
    assert code == 0
    assert len(locks) > 2


def _everything(steps: ModuleType, spans: Spans) -> None:
    with steps.run("in the child"), steps.step("s"):
        spend(1)
        with spans.provider.get_tracer("another").start_as_current_span("chat m"):
            pass
        jobs.is_first_fetch(("openai", "a job"))
    steps.unseen_calls()
    steps.uninstrument()
    steps.instrument()


def _exit_code(child: int) -> int:
    ends_s = time.monotonic() + CHILD_S
    while time.monotonic() < ends_s:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


# A step that nobody can leave any more ends when it is collected: here while the record of the next one is written.
FREED_WHILE_OPENING = """
import contextvars, gc, os, sys
import otel_harn_steps

sink = getattr(otel_harn_steps, sys.argv[1])(sys.argv[2])
otel_harn_steps.instrument(sinks=[sink])
open_now = os.open

def open_slowly(*args, **options):
    gc.collect()
    return open_now(*args, **options)

gc.disable()
contextvars.copy_context().run(lambda: otel_harn_steps.step("dropped").__enter__())
sink.close()
os.open = open_slowly
with otel_harn_steps.step("s"):
    pass
"""


@pytest.mark.parametrize("kind", ["JsonLinesSink", "Journal"])
def test_a_step_that_is_freed_while_its_sink_opens_a_file_is_written_too(kind: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FREED_WHILE_OPENING, kind, str(tmp_path / "written")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=CHILD_S, check=True,
    )  # fmt: skip
    lines = [
        json.loads(line) for path in tmp_path.rglob("*") if path.is_file() for line in path.read_text().splitlines()
    ]
    assert sorted(line["name"] for line in lines if "status" in line) == ["dropped", "s"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    new_id()  # some are made ahead
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, " ".join(new_id() for _ in range(200)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        ids = [*pipe.read().split(), *(new_id() for _ in range(200))]
    os.waitpid(child, 0)
    assert len(set(ids)) == 400
