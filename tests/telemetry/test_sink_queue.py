"""`instrument(sink_queue=...)`: a slow sink does not hold up the app, and nothing is lost without being counted."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from opentelemetry.trace import get_current_span

import otel_harn_steps as harn
from otel_harn_steps import JsonLinesSink, StepSpanProcessor, drain_completed_steps, dropped_sink_events, step
from tests.instrumented import instrumented
from tests.steps.sinks import Ledger
from tests.steps.spending import spend

ROOT = str(Path(__file__).parent.parent.parent)


@pytest.fixture(autouse=True)
def clean():
    yield
    harn.reset_steps()


class Slow:
    """A sink that takes nothing before it is let."""

    def __init__(self):
        self.may_go = threading.Event()
        self.has_begun = threading.Event()
        self.names = []
        self.threads = set()
        self.spans = []

    def __call__(self, record):
        self.has_begun.set()
        assert self.may_go.wait(30)
        self.names.append(record.name)
        self.threads.add(threading.current_thread().name)
        self.spans.append(get_current_span().get_span_context().span_id)


@pytest.fixture
def slow():
    sink = Slow()
    yield sink
    sink.may_go.set()


def run_steps(*names):
    for name in names:
        with step(name):
            spend()


def test_the_app_does_not_wait_for_a_slow_sink(slow, spans):
    with instrumented(sinks=[slow], sink_queue=10, tracer_provider=spans.provider):
        run_steps("a", "b", "c")
        assert slow.names == []
        assert [record.name for record in drain_completed_steps()] == ["a", "b", "c"]
        slow.may_go.set()
    assert slow.names == ["a", "b", "c"]
    assert slow.threads == {"otel_harn_steps sinks"}


def test_everything_arrives_in_its_order(spans):
    ledger = Ledger()
    with instrumented(sinks=[ledger], sink_queue=100, tracer_provider=spans.provider):
        run_steps("a", "b")
    assert [event for event, _ in ledger.events] == ["started", "settled", "ended"] * 2


def test_without_a_queue_a_sink_has_it_before_the_app_goes_on(spans, tmp_path):
    with instrumented(sinks=[JsonLinesSink(tmp_path / "r.jsonl")], tracer_provider=spans.provider):
        run_steps("a")
        assert json.loads((tmp_path / "r.jsonl").read_text())["name"] == "a"


def test_what_finds_the_queue_full_is_counted_and_told_once(slow, spans, caplog):
    with instrumented(sinks=[slow], sink_queue=2, tracer_provider=spans.provider):
        run_steps("taken")
        assert slow.has_begun.wait(30)
        run_steps("a", "b", "lost", "lost", "lost")
        assert dropped_sink_events() == 3
        slow.may_go.set()
    assert slow.names == ["taken", "a", "b"]
    told = [record.getMessage() for record in caplog.records if "dropped_sink_events" in record.getMessage()]
    assert len(told) == 1
    assert "the queue before them is full (sink_queue=2)" in told[0]
    assert dropped_sink_events() == 0  # begun anew by the end of the test


def test_flushing_the_provider_waits_for_the_sinks(slow, spans):
    with instrumented(sinks=[slow], sink_queue=10, tracer_provider=spans.provider):
        run_steps("a")
        assert not spans.provider.force_flush(1)
        slow.may_go.set()
        assert spans.provider.force_flush()
        assert slow.names == ["a"]


def test_a_sink_that_hangs_does_not_hold_up_the_end(slow, spans, monkeypatch):
    monkeypatch.setattr("otel_harn_steps._telemetry.sink_queue.SinkQueue.flush", lambda queue, timeout_s: False)
    harn.instrument(sinks=[slow], sink_queue=10, tracer_provider=spans.provider)
    run_steps("taken")
    assert slow.has_begun.wait(30)
    run_steps("lost", "lost")
    harn.uninstrument()
    assert dropped_sink_events() == 2


def test_a_sink_that_raises_keeps_nothing_from_the_others(spans, own_faults_dropped):
    seen = []

    def leave(record):
        raise SystemExit(3)

    def fail(record):
        raise LookupError

    with instrumented(sinks=[seen.append, fail], sink_queue=10, tracer_provider=spans.provider):
        run_steps("a", "b")
    assert [record.name for record in seen] == ["a", "b"]
    with instrumented(sinks=[leave], sink_queue=10, tracer_provider=spans.provider):
        run_steps("a", "b")
        assert spans.provider.force_flush()


def test_a_sink_sees_the_span_that_it_would_see_without_a_queue(slow, spans):
    slow.may_go.set()
    tracer = spans.provider.get_tracer("app")
    for size in (None, 10):
        with instrumented(sinks=[slow], sink_queue=size, tracer_provider=spans.provider):
            with tracer.start_as_current_span("request") as request:
                run_steps("a")
        assert slow.spans.pop() in {request.get_span_context().span_id, step_span_id(spans)}


def step_span_id(spans):
    return spans.finished("step a")[-1].context.span_id


def test_threads_and_tasks_share_the_queue(spans):
    ledger = Ledger()

    async def work(number):
        async with step(f"task {number}"):
            spend()
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*map(work, range(50)))

    with instrumented(sinks=[ledger], sink_queue=10_000, tracer_provider=spans.provider):
        threads = [threading.Thread(target=run_steps, args=("thread",) * 50) for _ in range(4)]
        for each in threads:
            each.start()
        asyncio.run(main())
        for each in threads:
            each.join()
    assert len(ledger.of("ended")) == 250
    assert dropped_sink_events() == 0


def test_a_processor_of_the_apps_own_may_have_a_queue(slow, spans):
    processor = StepSpanProcessor(slow, sink_queue=5)
    spans.provider.add_span_processor(processor)
    run_steps("a")
    slow.may_go.set()
    processor.shutdown()
    assert slow.names == ["a"]


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), ("10", TypeError), (True, TypeError), (1.5, TypeError)]
)
def test_the_size_of_the_queue_is_a_whole_number_above_0(size, error):
    for use in (lambda: harn.instrument(sink_queue=size), lambda: StepSpanProcessor(print, sink_queue=size)):
        with pytest.raises(
            error, match=f"sink_queue must be a whole number above 0, or None for no queue, not {size!r}"
        ):
            use()


# -- the end of a process ----------------------------------------------------------------------------------------------

PROGRAM = """
import atexit, sys, time
from otel_harn_steps import JsonLinesSink, instrument, step

class Slow(JsonLinesSink):
    def __call__(self, record):
        time.sleep(0.01)
        super().__call__(record)

def late():
    with step("at exit"):
        pass

instrument(sinks=[Slow(sys.argv[1])], sink_queue=100)
"""


def run_program(tmp_path, text, program=PROGRAM):
    path = tmp_path / "records.jsonl"
    command = [sys.executable, "-c", program + text, str(path)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": ROOT}, check=True, timeout=60)
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def test_the_end_of_the_program_waits_for_the_sinks(tmp_path):
    names = run_program(tmp_path, "for number in range(20):\n    with step(str(number)): pass\n")
    assert names == [str(number) for number in range(20)]


@pytest.mark.parametrize("place", ["instrument(sinks", "# end"])
def test_steps_of_functions_that_run_at_exit_are_handed_on(tmp_path, place):
    """Before and after the queue is emptied, which happens at exit as well."""
    program = (PROGRAM + "with step('a'): pass\n# end\n").replace(place, f"atexit.register(late)\n{place}")
    assert run_program(tmp_path, "", program) == ["a", "at exit"]


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_has_an_empty_queue_and_hands_on_its_own(tmp_path, end):
    names = run_program(
        tmp_path,
        f"""
import os
from opentelemetry import trace
with step("parent"): pass
child = os.fork()
if child == 0:
    with step("child"): pass
    from otel_harn_steps import uninstrument
    {"uninstrument(); " if "_exit" in end else ""}{end}
os.waitpid(child, 0)
""",
    )
    assert sorted(names) == ["child", "parent"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_hand_on_what_is_left(tmp_path, method):
    path = tmp_path / "records.jsonl"
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=work_in_a_process, args=(str(path), number)) for number in range(2)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    names = sorted(json.loads(line)["name"] for line in path.read_text().splitlines())
    assert names == ["process 0", "process 1"]


def work_in_a_process(path, number):
    harn.instrument(sinks=[JsonLinesSink(path)], sink_queue=100)
    run_steps(f"process {number}")
