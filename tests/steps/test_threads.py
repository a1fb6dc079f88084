"""A step's span leads to its step, also in a thread; and a call that finds no step in a thread is told of, once."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otel_harn_steps
from otel_harn_steps import current_step, drain_completed_steps, step
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC
from tests.instrumented import Spans
from tests.instrumented import instrumented as _instrumented
from tests.replay.answers import recorded
from tests.replay.bills import bill_of
from tests.replay.cases import case
from tests.replay.clients import Clients
from tests.replay.ways import Call
from tests.steps.spending import spend

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")


def name_here() -> str | None:
    active = current_step()
    return None if active is None else active.definition.name


def in_a_thread(function: Callable[[], Any]) -> Any:
    """What `function` returns in a new thread, which has no context."""
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(function()))
    thread.start()
    thread.join()
    return returned[0]


def under(span: trace.Span, function: Callable[[], Any]) -> Callable[[], Any]:
    """`function` where `span` is current, and nothing else is known."""

    def call() -> Any:
        with trace.use_span(span):
            return function()

    return call


# -- a step is found by its span ---------------------------------------------------------------------------------------


def test_a_call_in_a_bare_thread_under_the_steps_span_is_billed_to_the_step(steps: ModuleType) -> None:
    with step("s") as active:
        in_a_thread(under(active.span, lambda: spend(10)))
    assert (active.llm_calls, active.input_tokens + active.output_tokens) == (1, 10)


def test_tasks_of_a_pool_under_the_steps_span_are_billed_to_the_step(steps: ModuleType) -> None:
    with step("s") as active, ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(under(active.span, lambda: spend(10))) for _ in range(20)]:
            job.result()
    assert (active.llm_calls, active.input_tokens + active.output_tokens) == (20, 200)


def test_the_current_span_of_the_submitter_is_enough(steps: ModuleType) -> None:
    with step("s"):
        span = trace.get_current_span()
        assert in_a_thread(under(span, name_here)) == "s"


def test_a_client_call_under_the_steps_span_is_billed_and_held_to_the_budget(
    steps: ModuleType, sync_clients: Clients, replay: ReplayServer
) -> None:
    exchange = replay.serve(recorded(CHAT))
    with pytest.raises(steps.StepBudgetExceeded), step("s", max_tokens=1) as active:
        caught = in_a_thread(under(active.span, lambda: error_of(lambda: ask(sync_clients, exchange))))
        assert isinstance(caught, steps.StepBudgetExceeded)
        assert isinstance(error_of(lambda: ask(sync_clients, exchange)), steps.StepBudgetExceeded)
    (record,) = drain_completed_steps()
    assert (record.llm_calls, record.input_tokens, len(exchange.requests)) == (1, bill_of(CHAT).input_tokens, 1)


@pytest.mark.parametrize("depth", [1, 2])
def test_spans_of_others_within_the_steps_span_lead_to_the_step(depth: int, steps: ModuleType, spans: Spans) -> None:
    """A span that the app or another instrumentation has made within the step, and carried into a thread."""
    tracer = spans.provider.get_tracer("app")
    with step("s") as active:
        span = active.span
        for number in range(depth):
            span = tracer.start_span(f"inner {number}", trace.set_span_in_context(span))
        assert in_a_thread(under(span, name_here)) == "s"


def test_a_span_of_others_begun_in_the_thread_leads_to_the_step(steps: ModuleType, spans: Spans) -> None:
    tracer = spans.provider.get_tracer("app")

    def within_a_span() -> str | None:
        with tracer.start_as_current_span("inner"):
            return name_here()

    with step("s") as active:
        assert in_a_thread(under(active.span, within_a_span)) == "s"


def test_the_innermost_step_is_found(steps: ModuleType) -> None:
    with step("outer") as outer, step("inner") as inner:
        assert in_a_thread(under(inner.span, name_here)) == "inner"
        assert in_a_thread(under(outer.span, name_here)) == "outer"


def test_a_step_begun_in_the_thread_is_nested_in_the_step_of_the_span(steps: ModuleType) -> None:
    def nested() -> str:
        with step("nested") as active:
            spend(10)
            return active.path

    with step("s") as active:
        assert in_a_thread(under(active.span, nested)) == "s/nested"
    assert (active.llm_calls, active.total_llm_calls) == (0, 1)


def test_the_step_of_the_context_comes_before_the_one_of_an_older_span(steps: ModuleType) -> None:
    with step("outer") as outer, step("inner"):
        with trace.use_span(outer.span):
            assert name_here() == "inner"


def test_a_span_that_is_in_no_step_leads_to_none(steps: ModuleType, spans: Spans) -> None:
    span = spans.provider.get_tracer("app").start_span("alone")
    with step("s"):
        assert in_a_thread(under(span, name_here)) is None
        assert in_a_thread(under(trace.INVALID_SPAN, name_here)) is None


def test_a_span_that_is_not_sampled_leads_to_its_step() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with _instrumented(tracer_provider=provider), step("s") as active:
        assert active.span.get_span_context().is_valid
        assert in_a_thread(under(active.span, name_here)) == "s"


def test_a_span_of_a_step_that_has_ended_is_no_step_of_the_living(steps: ModuleType) -> None:
    """A late call under the span of an ended step may be billed to that step, and to no other."""
    with step("ended") as ended:
        pass
    with step("s") as active:
        assert in_a_thread(under(ended.span, name_here)) in (None, "ended")
        in_a_thread(under(ended.span, lambda: spend(10)))
    assert active.llm_calls == 0


# -- a call that finds no step -----------------------------------------------------------------------------------------


@pytest.fixture
def otel() -> Iterator[None]:
    """OpenTelemetry's own instrumentation of threads, active."""
    instrumentor = ThreadingInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()


def ask(clients: Clients, exchange: Any) -> Any:
    call = Call(CHAT, clients.for_case(CHAT, exchange.url_at(CHAT.host)), SYNC)
    return SYNC.run(call.make(call.method))


def error_of(function: Callable[[], Any]) -> Exception | None:
    try:
        function()
    except Exception as error:  # noqa: BLE001 -- the tests look at it
        return error
    return None


@pytest.fixture
def ask_here(sync_clients: Clients, replay: ReplayServer) -> Callable[[], None]:
    """Makes a call of a patched client."""
    exchange = replay.serve(recorded(CHAT))

    def ask_here() -> None:
        ask(sync_clients, exchange)

    return ask_here


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def test_calls_in_bare_threads_while_a_step_is_open_are_told_of_once_with_the_cure(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with step("s") as active:
        for _ in range(3):
            in_a_thread(ask_here)
    assert active.llm_calls == 0
    (warning,) = warnings_in(caplog)
    assert "threads=True" in warning


def test_a_bare_call_in_a_pool_is_told_of(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with step("s"), ThreadPoolExecutor(1) as pool:
        pool.submit(ask_here).result()
    (warning,) = warnings_in(caplog)
    assert "threads=True" in warning


def test_without_an_open_step_a_call_in_a_thread_is_not_told_of(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what other tests left open
    in_a_thread(ask_here)
    with step("over"):
        pass
    in_a_thread(ask_here)
    assert warnings_in(caplog) == []


def test_a_call_outside_every_step_in_the_main_thread_is_not_told_of(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    is_open, is_over = threading.Event(), threading.Event()

    def hold_a_step() -> None:
        with step("elsewhere"):
            is_open.set()
            is_over.wait(10)

    thread = threading.Thread(target=hold_a_step)
    thread.start()
    is_open.wait(10)
    ask_here()
    is_over.set()
    thread.join()
    assert warnings_in(caplog) == []


def test_a_thread_with_a_step_of_its_own_is_not_told_of(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    def in_its_own_step() -> None:
        with step("own"):
            ask_here()

    with step("s"):
        in_a_thread(in_its_own_step)
    assert warnings_in(caplog) == []


def test_threads_that_carry_the_step_are_not_told_of(
    ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with _instrumented(threads=True), step("s") as active:
        in_a_thread(ask_here)
    assert (active.llm_calls, warnings_in(caplog)) == (1, [])


def test_nor_are_those_of_the_threading_instrumentation(
    steps: ModuleType, otel: None, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with step("s") as active:
        in_a_thread(ask_here)
    assert (active.llm_calls, warnings_in(caplog)) == (1, [])


def test_it_is_told_of_again_after_a_reset(
    steps: ModuleType, ask_here: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with step("s"):
            in_a_thread(ask_here)
        otel_harn_steps.reset_steps()
    assert ["threads=True" in each for each in warnings_in(caplog)] == [True, True]
