"""A client changed its shape, and our reading of its requests breaks: what it calls is counted, and held by budgets, all the same."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from otel_harn_steps._calls.client import Call, ClientAdapter
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._clients.bedrock import BEDROCK
from otel_harn_steps._clients.lm15 import LM15
from otel_harn_steps._clients.ollama import OLLAMA
from otel_harn_steps._clients.openai import OPENAI
from otel_harn_steps._guard import forget_faults
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._seen import first_difference
from tests.instrumented import Spans
from tests.provider import provider
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.cases import Case, case
from tests.replay.native import Native, json_answer, native_cases
from tests.replay.outcomes import Twice
from tests.replay.runs import Trip
from tests.replay.ways import ways_of

pytestmark = pytest.mark.usefixtures("own_faults_dropped")

CASES = (
    case("openai.chat-completions.chat_tools"),
    case("openai.chat-completions.stream.sync_chat_completions_stream_version_latest"),
    case("anthropic.messages.TestTokenCounts.anthropic"),
    case("anthropic.messages.stream.sync_messages_stream_version_v1_only"),
)
TRIPS = [Trip(each, way) for each in CASES for way in ways_of(each) if way.name in {"create", "create.for", "raw"}]


def first_of_each_kind() -> list[Case]:
    firsts = {(each.provider, each.endpoint, each.stream): each for each in native_cases() if each.status == 200}
    return list(firsts.values())


def raising(*_: object, **__: object) -> Any:
    raise AttributeError("the client has changed: hello")


@pytest.fixture(autouse=True)
def faults_anew():
    forget_faults()
    yield
    forget_faults()


@pytest.fixture
def unreadable(monkeypatch):
    """No request can be read, of any client."""
    for kind in {type(adapter) for adapter in ADAPTERS}:
        monkeypatch.setattr(kind, "request", raising)


@pytest.mark.usefixtures("unreadable")
@pytest.mark.parametrize("trip", TRIPS, ids=str)
def test_the_call_is_an_unmetered_one_and_the_app_sees_no_difference(trip: Trip, twice: Twice) -> None:
    outcome = twice(trip)
    assert first_difference(outcome.bare.seen, outcome.ours.seen) is None
    assert Bill.of_record(outcome.record) == UNMETERED_CALL
    (spend,) = outcome.record.by_model
    assert (spend.provider, spend.model, spend.unmetered_calls) == (trip.case.client, None, 1)


@pytest.mark.usefixtures("unreadable")
@pytest.mark.parametrize("case", first_of_each_kind(), ids=lambda each: each.id)
def test_so_is_that_of_a_client_with_a_protocol_of_its_own(case: Case, native: Native) -> None:
    outcome = native(case)
    assert first_difference(outcome.bare, outcome.ours) is None
    assert Bill.of_record(outcome.record) == UNMETERED_CALL


class TestUnderABudget:
    @pytest.fixture(autouse=True)
    def _(self, unreadable: None) -> None:
        pass

    def test_it_is_estimated_by_what_is_sent_and_by_what_arrives(self, steps: ModuleType, replay: ReplayServer) -> None:
        with provider(replay) as app, pytest.raises(steps.StepBudgetExceeded) as caught:
            with steps.step("s", max_tokens=500):
                app.ask(1, 50)
                app.ask(1, 500)
        (record,) = steps.drain_completed_steps()
        assert caught.value.response is not None
        assert (record.llm_calls, record.input_tokens, record.output_tokens) == (2, 0, 0)
        assert record.estimated_tokens > 550

    def test_it_is_a_breach_where_unknown_usage_is_refused(self, spans: Spans, instrumented, replay) -> None:
        with instrumented(unmetered="refuse") as steps, provider(replay) as app:
            with pytest.raises(steps.StepBudgetExceeded, match="was not reported"):
                with steps.step("s", max_usd=5):
                    app.ask()

    def test_it_is_nothing_where_unknown_usage_is_ignored(self, instrumented, replay) -> None:
        with instrumented(unmetered="ignore") as steps, provider(replay) as app:
            with steps.step("s", max_tokens=1):
                app.ask(100, 100)
            (record,) = steps.drain_completed_steps()
        assert (record.unmetered_calls, record.estimated_tokens, record.breach) == (1, 0, None)

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_exhausted_step_refuses_it(self, steps: ModuleType, replay: ReplayServer, stream: bool) -> None:
        with provider(replay) as app, steps.step("s", max_tokens=1, error_boundary="continue"):
            steps.record_llm_usage("m", 5, 5)
        with provider(replay) as app, pytest.raises(steps.StepBudgetExceeded):
            with steps.step("s", max_tokens=1):
                with pytest.raises(steps.StepBudgetExceeded):
                    steps.record_llm_usage("m", 5, 5)
                app.ask(stream=stream)
        assert app.handed_out.calls == 0


@pytest.mark.usefixtures("unreadable")
def test_the_ledger_has_its_row(instrumented, replay: ReplayServer) -> None:
    rows: list[Any] = []

    class Sink:
        def call_settled(self, row: Any) -> None:
            rows.append(row)

    with instrumented(sinks=[Sink()]) as steps, provider(replay) as app, steps.step("s"):
        app.ask()
    (row,) = rows
    assert (row.provider, row.operation, row.requested_model, row.model) == ("openai", "chat", None, None)
    assert (row.outcome, row.certainty, row.input_tokens, row.cost_picousd) == ("answered", "unknown", None, None)


@pytest.mark.usefixtures("unreadable")
def test_a_look_or_an_upload_is_no_call(steps: ModuleType, replay: ReplayServer) -> None:
    import openai

    exchange = replay.serve(json_answer({"object": "list", "data": [], "id": "x"}))
    with steps.step("s"), openai.OpenAI(api_key="test", base_url=f"{replay.address}/{exchange.token}") as client:
        client.models.list()
        client.vector_stores.create(name="mine")
        client.responses.retrieve("resp_1")
    (record,) = steps.drain_completed_steps()
    assert len(exchange.requests) == 3
    assert Bill.of_record(record) == NO_CALL


@pytest.mark.parametrize(
    ("options", "operation"),
    [
        ({"method": "POST", "address": "/chat/completions"}, "unknown"),
        ({"method": "post", "url": "/v1/chat/completions?x=1"}, "chat"),
        ({"method": "post", "url": "/v1/files"}, None),
        ({"method": "get", "url": "/v1/chat/completions"}, None),
        ({"verb": "post"}, None),
    ],
)
def test_a_request_counts_where_it_posts_to_a_path_of_a_model_or_to_one_that_does_not_show(
    options: dict[str, Any], operation: str | None
) -> None:
    unread = OPENAI.unread(Call(None, (object, SimpleNamespace(**options)), {}))
    assert (None if unread is None else unread.operation) == operation


@pytest.mark.parametrize(
    ("adapter", "args", "operation"),
    [
        (BEDROCK, ("Converse", {}), "chat"),
        (BEDROCK, ({"operation": "x"}, "InvokeModel"), "chat"),
        (BEDROCK, ("ListBuckets", {}), None),
        (OLLAMA, (object, "POST", "/api/chat"), "chat"),
        (OLLAMA, (object, "GET", "/api/tags"), None),
        (LM15, (SimpleNamespace(method="POST"),), "unknown"),
        (LM15, (SimpleNamespace(method="GET"),), None),
    ],
)
def test_where_all_that_a_client_does_passes_what_names_a_model_call_counts(
    adapter: ClientAdapter, args: tuple[Any, ...], operation: str | None
) -> None:
    unread = adapter.unread(Call(None, args, {}))
    assert (None if unread is None else unread.operation) == operation


@pytest.mark.usefixtures("unreadable")
def test_the_warning_says_how_many_calls_it_is_about_and_comes_ever_more_rarely(
    steps: ModuleType, replay: ReplayServer, caplog: pytest.LogCaptureFixture
) -> None:
    with provider(replay) as app, steps.step("s"):
        for _ in range(11):
            app.ask()
    told = [each.getMessage() for each in caplog.records if "reading a request" in each.getMessage()]
    assert [each.partition("), ")[2].partition(";")[0] for each in told] == ["for the first time", "10 times so far"]
    assert "counts as one whose usage is unknown" in told[0]
    assert "hello" not in caplog.text


def test_where_only_preparing_a_request_breaks_it_is_sent_as_written_and_metered(
    steps: ModuleType, replay: ReplayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in {type(adapter) for adapter in ADAPTERS}:
        monkeypatch.setattr(kind, "prepare", raising)
    with provider(replay) as app, steps.step("s"):
        app.ask(10, 5)
        list(app.ask(10, 5, stream=True))
    (record,) = steps.drain_completed_steps()
    assert (record.llm_calls, record.input_tokens, record.unmetered_calls) == (2, 20, 0)
    assert all("stream_options" not in each.json() for each in app.exchange.requests)


def test_a_body_that_cannot_be_read_is_estimated_by_all_that_is_sent(
    steps: ModuleType, replay: ReplayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in {type(adapter) for adapter in ADAPTERS}:
        monkeypatch.setattr(kind, "sent_body", raising)
    with provider(replay) as app, steps.step("s", max_tokens=100_000):
        stream = app.client.chat.completions.create(**app.request(1, 5, stream=True, stop="word " * 700))
        next(iter(stream))
        stream.close()
    (record,) = steps.drain_completed_steps()
    assert record.estimated_tokens > 900
