"""`litellm` over recorded traffic: billed once, by its own layer or by the patched client below it."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from opentelemetry import baggage, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind

from otel_harn_steps import CallRow
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC, AsyncMode, Mode
from otel_harn_steps.testing._seen import Seen
from tests.instrumented import Instrumented, Spans
from tests.provider import provider
from tests.replay.answers import Answer, error, recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill, bill_of
from tests.replay.brakes import Brakes, limits_of
from tests.replay.cases import Case, JsonObject, case, cases
from tests.replay.results import replayed

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches its prices at import
litellm = pytest.importorskip("litellm")
pytestmark = pytest.mark.filterwarnings("ignore")  # litellm's own, of many kinds

HELLO = [{"role": "user", "content": "hello"}]
CAN_CLOSE = hasattr(litellm.CustomStreamWrapper, "close")
SONNET, CACHED = "anthropic/claude-sonnet-4-5", "anthropic.messages.anthropic_prompt_caching_async_legacy"
CACHED_STREAM = "anthropic.messages.stream.anthropic_prompt_caching_async_stream_legac"


def first(provider: str, endpoint: str, *, stream: bool) -> Case:
    return next(
        case
        for case in cases(providers=[provider], endpoints=[endpoint], stream=stream)
        if case.status == 200 and case.expected_usage and not case.in_stream_error
    )


CALLS = [
    # who bills, the function, the model, the case, the arguments
    (
        "client",
        "completion",
        "openai/gpt-4o-mini",
        first("openai", "chat.completions", stream=False),
        {"messages": HELLO},
    ),
    (
        "client",
        "completion",
        "openai/gpt-4o-mini",
        first("openai", "chat.completions", stream=True),
        {"messages": HELLO, "stream": True},
    ),
    (
        "client",
        "embedding",
        "openai/text-embedding-3-small",
        case("openai.embeddings.TestOpenAI.instrumentation"),
        {"input": ["hello"]},
    ),
    (
        "client",
        "text_completion",
        "openai/gpt-3.5-turbo-instruct",
        case("openai.completions.TestLM.openai_completions_api_invoked_via_p"),
        {"prompt": "hello"},
    ),
    ("litellm", "completion", SONNET, case(CACHED), {"messages": HELLO}),
    ("litellm", "completion", SONNET, case(CACHED_STREAM), {"messages": HELLO, "stream": True}),
    (
        "litellm",
        "completion",
        SONNET,
        case(CACHED_STREAM),
        {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
    ),
    (
        "litellm",
        "completion",
        "groq/openai/gpt-oss-120b",
        case("groq.chat-completions.tool_use_failed_error"),
        {"messages": HELLO},
    ),
    (
        "litellm",
        "completion",
        "mistral/mistral-tiny",
        first("mistral", "chat.completions", stream=False),
        {"messages": HELLO},
    ),
    ("litellm", "responses", "openai/gpt-4.1-nano", first("openai", "responses", stream=False), {"input": "hello"}),
    (
        "litellm",
        "responses",
        "openai/gpt-5.2",
        first("openai", "responses", stream=True),
        {"input": "hello", "stream": True},
    ),
]


async def _closed() -> None:
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    await close_litellm_async_clients()


@pytest.fixture(scope="module", params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        yield SYNC
        return
    running = AsyncMode()
    yield running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running.run(_closed())
        running.close()


@pytest.fixture(scope="module", autouse=True)
def _swept() -> Iterator[None]:
    """Clear away what litellm leaves open (connections, event loops), before it is collected in somebody else's test."""
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def call(mode: Mode, replay: ReplayServer) -> Callable[..., Seen]:
    """Calls a function of litellm against an answer and reads all there is to read."""

    def go(function: str, model: str, answer: Answer, *, reads: int | None = None, **arguments: Any) -> Seen:
        exchange = replay.serve(answer)
        url = f"{replay.address}/{exchange.token}"
        seen = Seen(url)

        async def work() -> None:
            made = getattr(litellm, function if mode.name == "sync" else f"a{function}")
            try:
                result = await mode.settle(made(model=model, api_base=url, api_key="k", max_retries=0, **arguments))
                seen.note("type", result.__class__)
                if not arguments.get("stream"):
                    seen.note("usage", str(result.usage))
                    return
                count = 0
                async for event in mode.each(result):
                    seen.note("event", type(event))
                    count += 1
                    if count == reads:
                        break
            except Exception as error:  # noqa: BLE001 -- noted, to be compared
                seen.note("raised", type(error))

        mode.run(work())
        return seen

    return go


def expected(case: Case) -> Bill:
    if case.provider != "mistral":
        return bill_of(case)
    usage = dict(case.expected_usage or {})
    read = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Bill(1, 0, usage["prompt_tokens"], usage["completion_tokens"], read)


@pytest.mark.parametrize(
    ("layer", "function", "model", "case", "arguments"), CALLS, ids=lambda value: getattr(value, "id", None)
)
def test_a_call_is_billed_once_and_exactly(  # noqa: PLR0917 -- what varies, and what it runs in
    layer: str,
    function: str,
    model: str,
    case: Case,
    arguments: dict[str, Any],
    call: Callable[..., Seen],
    instrumented: Instrumented,
    mode: Mode,
    record_property: Callable[[str, object], None],
) -> None:
    bare = call(function, model, recorded(case), **arguments)
    spans = Spans()
    with instrumented(tracer_provider=spans.provider) as steps:
        with steps.step("s"):
            ours = call(function, model, recorded(case), **arguments)
        (record,) = steps.drain_completed_steps()
    replayed(record_property, case, mode.name, Bill.of_record(record), "litellm")
    assert ours.entries == bare.entries
    assert not ours.values("raised")
    assert Bill.of_record(record) == expected(case)
    (call_span,) = [span for span in spans.finished() if span.kind is SpanKind.CLIENT]
    assert "gen_ai.usage.input_tokens" in (call_span.attributes or {})


def test_an_error_is_no_call(call: Callable[..., Seen], steps: ModuleType) -> None:
    refused = next(
        case for case in cases(providers=["anthropic"], endpoints=["messages", "beta.messages"]) if case.status >= 400
    )
    with steps.step("s"):
        seen = call("completion", SONNET, recorded(refused), messages=HELLO)
    (record,) = steps.drain_completed_steps()
    assert seen.values("raised")
    assert Bill.of_record(record) == NO_CALL


def test_an_error_below_is_no_call(call: Callable[..., Seen], steps: ModuleType) -> None:
    refused = next(
        case for case in cases(providers=["openai"], endpoints=["chat.completions"], stream=False) if case.status >= 400
    )
    with steps.step("s"):
        seen = call("completion", "openai/gpt-4o-mini", recorded(refused), messages=HELLO)
    (record,) = steps.drain_completed_steps()
    assert seen.values("raised")
    assert Bill.of_record(record) == NO_CALL


def test_a_connection_that_breaks_below_is_one_unmetered_call(call: Callable[..., Seen], steps: ModuleType) -> None:
    with steps.step("s"):
        seen = call(
            "completion",
            "openai/gpt-4o-mini",
            recorded(first("openai", "chat.completions", stream=False), cut_after=1),
            messages=HELLO,
        )
    (record,) = steps.drain_completed_steps()
    assert seen.values("raised")
    assert Bill.of_record(record) == UNMETERED_CALL


def test_a_stream_left_early_is_one_call_that_is_not_fully_metered(
    call: Callable[..., Seen], steps: ModuleType
) -> None:
    with steps.step("s"):
        call("completion", SONNET, recorded(case(CACHED_STREAM)), reads=2, messages=HELLO, stream=True)
    (record,) = steps.drain_completed_steps()
    # The output that a message starts with is a placeholder.
    assert (record.llm_calls, record.input_tokens, record.output_tokens, record.unmetered_calls) == (1, 1171, 0, 1)


NO_INPUT = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


@pytest.mark.parametrize("told", [{}, {"input_tokens": 0}, NO_INPUT], ids=["nothing", "no input", "no caches either"])
@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}], ids=["", "asked"])
def test_input_that_a_message_started_with_does_not_become_less(
    told: dict[str, int], asked: dict[str, Any], call: Callable[..., Seen], steps: ModuleType
) -> None:
    def change(event: JsonObject) -> JsonObject:
        if event.get("type") != "message_delta":
            return event
        return {**event, "usage": {"output_tokens": event["usage"]["output_tokens"], **told}}

    streamed = case(CACHED_STREAM)
    with steps.step("s"):
        call("completion", SONNET, recorded(streamed, change), messages=HELLO, stream=True, **asked)
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == bill_of(streamed)


def test_what_the_provider_did_not_tell_is_not_made_up(call: Callable[..., Seen], steps: ModuleType) -> None:
    untold = first("groq", "chat.completions", stream=True)  # in a place where litellm does not look
    with steps.step("s"):
        call("completion", "groq/openai/gpt-oss-120b", recorded(untold), messages=HELLO, stream=True)
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == UNMETERED_CALL


def test_what_was_asked_by_position_counts_where_no_usage_is_reported(replay: ReplayServer, steps: ModuleType) -> None:
    untold = first("groq", "chat.completions", stream=True)
    exchange = replay.serve(recorded(untold))
    sent_to = {"api_base": f"{replay.address}/{exchange.token}", "api_key": "k", "stream": True}
    long = [{"role": "user", "content": "four " * 7_000}]
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=9_000):
        for _ in litellm.completion("groq/openai/gpt-oss-120b", long, **sent_to):
            pass


def test_a_mocked_answer_is_no_call(steps: ModuleType) -> None:
    with steps.step("s"):
        litellm.completion(model="gpt-4o", messages=HELLO, mock_response="hi")
    (record,) = steps.drain_completed_steps()
    assert Bill.of_record(record) == NO_CALL


def test_a_crossed_budget_raises_at_the_call_with_the_answer(replay: ReplayServer, steps: ModuleType) -> None:
    exchange = replay.serve(recorded(case(CACHED)))
    with pytest.raises(steps.StepBudgetExceeded) as caught, steps.step("s", max_tokens=1):
        litellm.completion(model=SONNET, messages=HELLO, api_base=f"{replay.address}/{exchange.token}", api_key="k")
    assert caught.value.response.usage.prompt_tokens == 1169


@pytest.mark.parametrize(
    ("layer", "function", "model", "case", "arguments"),
    [each for each in CALLS if each[-1].get("stream")],
    ids=lambda value: getattr(value, "id", None),
)
@pytest.mark.usefixtures("own_faults_dropped")
def test_a_stream_is_stopped_by_a_budget_closed_and_billed_once(  # noqa: PLR0917 -- as above
    layer: str,
    function: str,
    model: str,
    case: Case,
    arguments: dict[str, Any],
    mode: Mode,
    replay: ReplayServer,
    steps: ModuleType,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def go(url: str) -> None:
        made = getattr(litellm, function if mode.name == "sync" else f"a{function}")
        result = await mode.settle(made(model=model, api_base=url, api_key="k", max_retries=0, **arguments))
        async for _ in mode.each(result):
            pass

    for limit in limits_of(case):
        stopped = Brakes(mode, replay, steps, caplog)(limit, case, nullcontext, go)
        assert stopped.raised is not None
        # Before its streams could be closed, nobody could close an asynchronous one that it had made itself.
        stopped.check(is_closed=layer == "client" or mode.name == "sync" or CAN_CLOSE)


@pytest.mark.parametrize("model", [SONNET, "openai/gpt-4o-mini", "mistral/mistral-tiny"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_what_a_call_allows_is_lowered_to_what_there_is_room_for(
    model: str, is_stream: bool, mode: Mode, replay: ReplayServer, steps: ModuleType
) -> None:
    exchange = replay.serve(error(400, "no"))
    url = f"{replay.address}/{exchange.token}"
    made = litellm.completion if mode.name == "sync" else litellm.acompletion

    async def go() -> None:
        given = {"model": model, "api_base": url, "api_key": "k", "max_retries": 0, "max_tokens": 5_000}
        with pytest.raises(Exception, match="no"):
            await mode.settle(made(messages=HELLO, stream=is_stream, **given))

    with steps.step("s", max_output_tokens=40, preflight="reserve", cap_output=True):
        mode.run(go())
    assert exchange.requests[0].json()["max_tokens"] == 40


def test_a_call_that_a_client_below_makes_holds_room_once(
    call: Callable[..., Seen], steps: ModuleType, mode: Mode
) -> None:
    answer = recorded(first("openai", "chat.completions", stream=False))
    with steps.step("s", max_tokens=400, preflight="reserve"):
        seen = call("completion", "openai/gpt-4o-mini", answer, messages=HELLO, max_tokens=250)
    assert not seen.values("raised")


def test_the_client_below_keeps_labels_from_baggage_and_sends_none_of_it(
    replay: ReplayServer, instrumented: Instrumented
) -> None:
    rows: list[CallRow] = []
    sink = SimpleNamespace(call_settled=rows.append)
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(W3CBaggagePropagator())
    token = attach(baggage.set_baggage("session", "1", baggage.set_baggage("tenant", "acme")))
    try:
        with instrumented(sinks=[sink], baggage_labels=["tenant"]) as steps, provider(replay) as llm, steps.step("s"):
            llm.client._client.event_hooks = {"request": [lambda request: propagate.inject(request.headers)]}
            litellm.completion(**llm.request() | {"model": "openai/model-of-ours"}, client=llm.client)
    finally:
        detach(token)
        propagate.set_global_textmap(before)
    assert [each.headers["baggage"] for each in llm.exchange.requests] == ["session=1"]
    assert [dict(row.labels) for row in rows] == [{"tenant": "acme"}]
