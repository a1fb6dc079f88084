"""`lm15`, which dspy calls by default: in each of its protocols the answer is billed as the provider's own client would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._answers import error
from otel_harn_steps.testing._modes import Mode
from otel_harn_steps.testing._seen import Seen, first_difference
from tests.instrumented import Instrumented, Spans
from tests.replay.answers import Answer, asked_usage, recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill, bill_of
from tests.replay.brakes import Brakes, limits_of
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.native import json_answer, native_bill
from tests.replay.results import replayed

lm15 = pytest.importorskip("lm15")

CHAT = case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest")
MESSAGES = case("anthropic.messages.stream.anthropic_prompt_caching_async_stream_legac")
PLAIN = case("openai.chat-completions.TestTokenCounts.openai")
CASES = {
    # its class, and the recorded cases
    "OpenAIChatLM": (
        "openai.chat-completions.TestTokenCounts.openai",
        "groq.chat-completions.chat_legacy",
        "deepseek.chat-completions.stream.deepseek_model_thinking_stream",
        "openrouter.chat-completions.stream.openrouter_web_search_annotations_stream",
    ),
    "OpenAILM": (
        "openai.responses.responses_create_reports_reasoning_tokens_c",
        "openai.responses.stream.responses_stream",
    ),
    "AnthropicLM": (
        "anthropic.messages.anthropic_prompt_caching_async_legacy",
        "anthropic.messages.stream.anthropic_prompt_caching_async_stream_legac",
        "anthropic.messages.stream.completion_streaming_with_extended_thinking",
    ),
    "GeminiLM": (
        "google_genai.generateContent.generate_metrics",
        "google_genai.generateContent.validate_token_counts",
        "google_genai.streamGenerateContent.stream.code_execution_stream",
        "google_genai.streamGenerateContent.stream.validate_token_counts_stream",
    ),
}
VENDORS = ("openai", "anthropic", "google_genai")
RECORDED = [(kind, case(name)) for kind, names in CASES.items() for name in names]
of_case = pytest.mark.parametrize(("kind", "case"), RECORDED, ids=lambda value: getattr(value, "id", ""))


class App:
    """An app that calls a model through lm15, sync or async."""

    def __init__(self, mode: Mode, server: ReplayServer) -> None:
        self.mode = mode
        self.server = server

    def calls(
        self, kind: str, case: Case, *script: Any, reads: int | None = None, asked: str = "hello"
    ) -> tuple[Seen, int]:
        """Make the recorded call; what is seen, and how many requests arrived."""
        exchange = self.server.serve(*(script or (recorded(case),)))
        seen = Seen(f"{self.server.address}/{exchange.token}")

        async def work() -> None:
            request = lm15.Request(model=case.request_model or "m", messages=(lm15.Message.user(asked),))
            with self.client(kind, f"{self.server.address}/{exchange.token}") as lm:
                try:
                    if case.stream:
                        await self._streamed(lm.stream(request), seen, reads)
                    else:
                        seen.note("value", repr(await self.mode.settle(lm.complete(request))))
                except Exception as failed:
                    seen.note("raised", type(failed))
                    if type(failed).__name__ == "StepBudgetExceeded":
                        raise

        self.mode.run(work())
        return seen, len(exchange.requests)

    async def _streamed(self, stream: Any, seen: Seen, reads: int | None) -> None:
        count = 0
        async for event in self.mode.each(stream):
            seen.note("event", repr(event))
            count += 1
            if count == reads:
                break
        await self.mode.settle(stream.close() if self.mode.name == "sync" else stream.aclose())

    @contextmanager
    def client(self, kind: str, url: str) -> Iterator[Any]:
        is_sync = self.mode.name == "sync"
        lm = getattr(lm15, kind if is_sync else f"Async{kind}")(api_key="k", base_url=url)
        try:
            yield lm
        finally:
            if is_sync:
                lm.close()


@pytest.fixture
def app(clients: Clients, replay: ReplayServer) -> App:
    return App(clients.mode, replay)


def expected(case: Case) -> Bill:
    return native_bill(case) if case.provider.startswith("google") else bill_of(case)


@of_case
def test_a_call_is_billed_once_and_exactly(
    kind: str, case: Case, app: App, instrumented: Instrumented, record_property: Callable[[str, object], None]
) -> None:
    bare, _ = app.calls(kind, case)
    spans = Spans()
    with instrumented(tracer_provider=spans.provider) as steps:
        with steps.step("s"):
            ours, _ = app.calls(kind, case)
        (record,) = steps.drain_completed_steps()
    replayed(record_property, case, app.mode.name, Bill.of_record(record), "lm15")
    assert first_difference(bare, ours) is None
    assert not ours.values("raised")
    assert Bill.of_record(record) == expected(case)
    (span,) = [span for span in spans.finished() if span.kind is SpanKind.CLIENT]
    assert "gen_ai.usage.input_tokens" in (span.attributes or {})
    if case.oracle_usd is not None and case.provider in VENDORS and not record.unpriced_calls:
        assert record.cost_usd == pytest.approx(float(case.oracle_usd), abs=1e-12)


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def test_a_chat_stream_is_asked_for_its_usage_by_lm15_itself(app: App, steps: ModuleType) -> None:
    with steps.step("s"):
        app.calls("OpenAIChatLM", CHAT, asked_usage(CHAT, USAGE))
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 0, 11, 7)


@pytest.mark.parametrize("reads", [1, 3])
def test_a_stream_left_early_is_billed_with_what_is_known(reads: int, app: App, steps: ModuleType) -> None:
    with steps.step("s"):
        app.calls("AnthropicLM", MESSAGES, reads=reads)
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == Bill(1, 1, 1171, 0, cache_read_tokens=1167)


@pytest.mark.parametrize("case", [PLAIN, CHAT], ids=lambda case: case.id)
@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_rejected_request_is_no_call_and_its_span_an_error(
    status: int, case: Case, app: App, steps: ModuleType, spans: Spans
) -> None:
    with steps.step("s"):
        seen, requests = app.calls("OpenAIChatLM", case, error(status, "no"))
    (record,) = steps.drain_completed_steps()
    assert (len(seen.values("raised")), requests) == (1, 1)
    assert Bill.of_record(record) == NO_CALL
    (span,) = [span for span in spans.finished() if span.kind is SpanKind.CLIENT]
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("case", [PLAIN, CHAT], ids=lambda case: case.id)
def test_a_connection_that_breaks_is_one_unmetered_call(case: Case, app: App, steps: ModuleType) -> None:
    with steps.step("s"):
        seen, _ = app.calls("OpenAIChatLM", case, recorded(case, cut_after=1))
    (record,) = steps.drain_completed_steps()
    assert seen.values("raised")
    assert Bill.of_record(record) == UNMETERED_CALL


@of_case
def test_a_crossed_budget_raises_and_nothing_more_is_sent(kind: str, case: Case, app: App, steps: ModuleType) -> None:
    sent = []
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=1):
        for _ in range(2):
            try:
                sent.append(app.calls(kind, case)[1])
            except steps.StepBudgetExceeded:
                sent.append(None)
    (record,) = steps.drain_completed_steps()
    assert sent == [None, None]
    assert (record.llm_calls, Bill.of_record(record)) == (1, expected(case))


def test_what_was_asked_counts_where_no_usage_is_reported(app: App, steps: ModuleType) -> None:
    answer = {name: value for name, value in json.loads(PLAIN.body).items() if name != "usage"}
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=9_000):
        app.calls("OpenAIChatLM", PLAIN, json_answer(answer), asked="four " * 7_000)


def test_other_requests_are_no_calls(app: App, steps: ModuleType) -> None:
    exchange = app.server.serve(
        Answer(200, (b'{"object": "list", "data": []}',), headers={"content-type": "application/json"})
    )

    async def work() -> None:
        with steps.step("s"), app.client("OpenAIChatLM", f"{app.server.address}/{exchange.token}") as lm:
            await app.mode.settle(lm.list_models())

    app.mode.run(work())
    (record,) = steps.drain_completed_steps()
    assert (len(exchange.requests), Bill.of_record(record)) == (1, NO_CALL)


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, case in RECORDED if limits_of(case) and case.stream],
    ids=lambda value: getattr(value, "id", ""),
)
@pytest.mark.usefixtures("own_faults_dropped")
def test_a_stream_is_stopped_by_a_budget_closed_and_billed_once(
    kind: str, case: Case, app: App, steps: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    async def go(lm: Any) -> None:
        request = lm15.Request(model=case.request_model or "m", messages=(lm15.Message.user("hello"),))
        async for _ in app.mode.each(lm.stream(request)):
            pass

    for limit in limits_of(case):
        stopped = Brakes(app.mode, app.server, steps, caplog)(limit, case, partial(app.client, kind), go)
        assert isinstance(stopped.raised, StepBudgetExceeded)
        stopped.check()


@pytest.mark.parametrize("is_stream", [False, True], ids=["complete", "stream"])
def test_what_a_call_allows_is_lowered_to_what_there_is_room_for(is_stream: bool, app: App, steps: ModuleType) -> None:
    exchange = app.server.serve(error(400, "no"))
    request = lm15.Request(model="m", messages=(lm15.Message.user("hello"),), config=lm15.Config(max_tokens=5_000))

    async def go() -> None:
        with app.client("AnthropicLM", f"{app.server.address}/{exchange.token}") as lm:
            if not is_stream:
                await app.mode.settle(lm.complete(request))
            async for _ in app.mode.each(lm.stream(request)):
                pass

    with steps.step("s", max_output_tokens=40, preflight="reserve", cap_output=True):
        with pytest.raises(Exception, match="no"):
            app.mode.run(go())
    assert exchange.requests[0].json()["max_tokens"] == 40
