"""`boto3` and `aiobotocore` over recorded traffic of `bedrock-runtime`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._cost.estimate import output_cap
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC, AsyncMode, Mode
from otel_harn_steps.testing._seen import Seen, first_difference
from tests.instrumented import Instrumented, instrumented
from tests.replay.answers import Answer, recorded
from tests.replay.arrivals import arrivals, first_beyond
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.brakes import Brakes
from tests.replay.cases import Case, all_cases, case, cases
from tests.replay.native import json_answer
from tests.replay.results import replayed
from tests.replay.stops import check_stops
from tests.steps.sinks import Ledger

pytest.importorskip("botocore")

AWS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}
METHODS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
}
# One recording was kept as what a client had made of the stream, not as its bytes.
CASES = [
    case
    for case in cases(providers=["bedrock"])
    if case.content_type != "application/json" or case.endpoint != "converse-stream"
]
STREAMS = [case for case in CASES if case.stream]
# Titan's answer was one event, with everything in it.
LONGER_STREAMS = [case for case in STREAMS if "invoke_model_with_response_stream_with_cont" not in case.id]
PLAIN = [case for case in CASES if not case.stream and case.status == 200]


class Aws:
    """Clients for `bedrock-runtime` in one mode."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._open = AsyncExitStack()

    async def client(self, url: str, **config: Any) -> Any:
        from botocore.config import Config

        if self.mode.name == "sync":
            from botocore.session import Session

            settings = Config(retries={"max_attempts": 0}, proxies={}, **config)
            return Session().create_client("bedrock-runtime", endpoint_url=url, config=settings, **AWS)
        from aiobotocore.config import AioConfig
        from aiobotocore.session import AioSession

        settings = AioConfig(retries={"max_attempts": 0}, proxies={}, **config)
        created = AioSession().create_client("bedrock-runtime", endpoint_url=url, config=settings, **AWS)
        return await self._open.enter_async_context(created)

    async def close(self) -> None:
        await self._open.aclose()


@pytest.fixture(scope="module", params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    if request.param == "sync":
        yield SYNC
        return
    pytest.importorskip("aiobotocore")
    running = AsyncMode()
    yield running
    running.close()


@pytest.fixture
def run(mode: Mode, replay: ReplayServer) -> Callable[..., Seen]:
    """Makes a case's call against an answer, and does with the result what `use` does."""

    def go(case: Case, use: Callable[..., Any], answer: Answer | None = None, **more: Any) -> Seen:
        exchange = replay.serve(answer or recorded(case))
        url = f"{replay.address}/{exchange.token}"
        seen = Seen(url)

        async def work() -> None:
            aws = Aws(mode)
            try:
                client = await aws.client(url)
                result = await mode.settle(getattr(client, METHODS[case.endpoint])(**{**arguments(case), **more}))
                seen.note(
                    "result",
                    {
                        name: value
                        for name, value in result.items()
                        if name not in ("stream", "body", "ResponseMetadata")
                    },
                )
                await use(mode, result, seen)
            except Exception as error:  # noqa: BLE001 -- a client makes its exception classes itself, each time anew
                seen.note("raised", (type(error).__module__, type(error).__name__, str(error)))
            finally:
                await aws.close()

        mode.run(work())
        return seen

    return go


def arguments(case: Case) -> dict[str, Any]:
    if case.endpoint.startswith("invoke"):
        return {"modelId": case.request_model, "body": json.dumps(dict(case.request))}
    return {"modelId": case.request_model, **case.request}


async def reads_all(mode: Mode, result: Any, seen: Seen) -> None:
    stream = result.get("stream") or result.get("body")
    if stream is None:
        return
    seen.note("type", type(stream))
    if hasattr(stream, "_event_generator"):
        try:
            async for event in mode.each(stream):
                seen.note("event", event)
        finally:
            stream.close()
    else:
        try:
            seen.note("body", await mode.settle(stream.read()))
        finally:
            stream.close()


async def reads_in_pieces(mode: Mode, result: Any, seen: Seen) -> None:
    # Where bytes are cut is up to the network, so what counts is their sum.
    seen.note("pieces", b"".join([piece async for piece in mode.each(result["body"].iter_chunks(7))]))


async def leaves(mode: Mode, result: Any, seen: Seen) -> None:
    stream = result.get("stream") or result["body"]
    async for event in mode.each(stream):
        seen.note("event", event)
        break
    stream.close()


def billed(case: Case) -> Bill:
    """By this file's own reading of the recorded usage, Bedrock's own counts, and the headers."""
    if case.status >= 400:
        return NO_CALL
    usage = dict(case.expected_usage or {})
    if not usage:
        index = METRICS.get(case.id)
        return UNMETERED_CALL if index is None else Bill(llm_calls=1, input_tokens=index[0], output_tokens=index[1])
    read = (
        usage.get("cacheReadInputTokens")
        or usage.get("cache_read_input_tokens")
        or usage.get("cacheReadInputTokenCount")
        or 0
    )
    written = usage.get("cacheWriteInputTokens") or usage.get("cache_creation_input_tokens") or 0
    return Bill(
        llm_calls=1,
        input_tokens=next(usage[name] for name in ("inputTokens", "input_tokens", "prompt_tokens") if name in usage)
        + read
        + written,
        output_tokens=next(
            usage[name] for name in ("outputTokens", "output_tokens", "completion_tokens") if name in usage
        ),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


METRICS = {
    "bedrock.invoke-with-response-stream.stream.invoke_model_with_response_stream_with_cont": (5, 10),
    "bedrock.invoke.invoke_model_with_content_mistral.mistral_": (6, 10),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_step_is_billed_what_was_recorded(
    case: Case, run: Callable[..., Seen], steps: ModuleType, mode: Mode, record_property: Callable[[str, object], None]
) -> None:
    with steps.step("s"):
        run(case, reads_all)
    (record,) = steps.drain_completed_steps()
    library = "boto3" if mode.name == "sync" else "aiobotocore"
    replayed(record_property, case, mode.name, Bill.of_record(record), library)
    assert Bill.of_record(record) == billed(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_app_sees_what_it_saw_without_us(case: Case, run: Callable[..., Seen], instrumented: Instrumented) -> None:
    bare = run(case, reads_all)
    with instrumented() as steps, steps.step("s"):
        ours = run(case, reads_all)
    assert first_difference(bare, ours) is None


@pytest.mark.parametrize("case", [case for case in PLAIN if case.endpoint == "invoke"], ids=lambda case: case.id)
def test_a_body_is_the_same_in_pieces(case: Case, run: Callable[..., Seen], instrumented: Instrumented) -> None:
    bare = run(case, reads_in_pieces)
    with instrumented() as steps:
        with steps.step("s"):
            ours = run(case, reads_in_pieces)
        (record,) = steps.drain_completed_steps()
    assert first_difference(bare, ours) is None
    assert Bill.of_record(record) == billed(case)


@pytest.mark.parametrize("case", LONGER_STREAMS, ids=lambda case: case.id)
def test_a_stream_left_early_is_one_call_that_is_not_fully_metered(
    case: Case, run: Callable[..., Seen], steps: ModuleType
) -> None:
    with steps.step("s"):
        run(case, leaves)
    (record,) = steps.drain_completed_steps()
    assert (record.llm_calls, record.unmetered_calls, record.output_tokens) == (1, 1, 0)


@pytest.mark.parametrize("case", LONGER_STREAMS, ids=lambda case: case.id)
def test_a_stream_that_is_cut_shows_the_same_error(
    case: Case, run: Callable[..., Seen], instrumented: Instrumented
) -> None:
    bare = run(case, reads_all, recorded(case, cut_after=2))
    with instrumented() as steps:
        with steps.step("s"):
            ours = run(case, reads_all, recorded(case, cut_after=2))
        (record,) = steps.drain_completed_steps()
    assert bare.values("raised")
    assert first_difference(bare, ours) is None
    assert (record.llm_calls, record.unmetered_calls) == (1, 1)


def test_a_body_that_is_cut_shows_the_same_error_where_the_app_reads(
    run: Callable[..., Seen], instrumented: Instrumented
) -> None:
    invoked = case("bedrock.invoke.anthropic_cache_bedrock_real_api")
    bare = run(invoked, reads_all, recorded(invoked, cut_after=1))
    with instrumented() as steps:
        with steps.step("s"):
            ours = run(invoked, reads_all, recorded(invoked, cut_after=1))
        (record,) = steps.drain_completed_steps()
    assert bare.values("raised")
    assert first_difference(bare, ours) is None
    assert record.llm_calls == 1


def test_the_requested_model_prices_the_call(run: Callable[..., Seen], steps: ModuleType) -> None:
    converse = case("bedrock.converse.bedrock_cache_messages_with_document_as_las")
    with steps.step("s"):
        run(converse, reads_all)
    (record,) = steps.drain_completed_steps()
    # us.anthropic.claude-sonnet-4-5: 10 % above list. 3 in, 1712 read, 236 written for 5 minutes, 121 out.
    expected = (Decimal(3) * 3 + 1712 * Decimal("0.3") + 236 * Decimal("3.75") + 121 * 15) * Decimal("1.1") / 1_000_000
    assert record.cost_usd == pytest.approx(float(expected), abs=1e-12)


def test_another_service_is_no_call(mode: Mode, replay: ReplayServer, steps: ModuleType) -> None:
    from botocore.session import Session

    if mode.name == "async":
        pytest.skip("one mode is enough")
    exchange = replay.serve(Answer(200, (b"{}",)))
    client = Session().create_client("dynamodb", endpoint_url=f"{replay.address}/{exchange.token}", **AWS)
    with steps.step("s"):
        client.list_tables()
    (record,) = steps.drain_completed_steps()
    assert record.llm_calls == 0


def test_the_step_names_the_model_where_the_app_names_none(
    run: Callable[..., Seen], steps: ModuleType, replay: ReplayServer
) -> None:
    converse = all_cases()["bedrock.converse.meta_converse"]
    with steps.step("s", model="meta.llama3-2-1b-instruct-v1:0"):
        seen = run(converse, reads_all, modelId="")
    (record,) = steps.drain_completed_steps()
    assert not seen.values("raised")
    assert record.model == "meta.llama3-2-1b-instruct-v1:0"


def test_what_was_asked_counts_where_no_usage_is_reported(run: Callable[..., Seen], steps: ModuleType) -> None:
    answer = {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn"}
    long = [{"role": "user", "content": [{"text": "four " * 7_000}]}]
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=9_000):
        run(all_cases()["bedrock.converse.meta_converse"], reads_all, json_answer(answer), messages=long)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
def test_a_budget_crossed_in_a_call_raises_there(
    case: Case, mode: Mode, run: Callable[..., Seen], steps: ModuleType
) -> None:
    seen: list[Seen] = []
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=1):
        seen.append(run(case, reads_all))
    is_later = mode.name == "async" and case.endpoint == "invoke"  # its body is still to be awaited
    assert bool(seen[0].values("raised")) != is_later


@pytest.mark.parametrize("case", LONGER_STREAMS, ids=lambda case: case.id)
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.usefixtures("own_faults_dropped")
def test_a_stream_is_stopped_by_a_budget_closed_and_billed_once(  # noqa: PLR0917 -- what varies, and what it runs in
    case: Case, limit: int, mode: Mode, replay: ReplayServer, steps: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    async def go(url: str) -> None:
        aws = Aws(mode)
        try:
            client = await aws.client(url)
            result = await mode.settle(getattr(client, METHODS[case.endpoint])(**arguments(case)))
            async for _ in mode.each(result.get("stream") or result["body"]):
                pass
        finally:
            await aws.close()

    stopped = Brakes(mode, replay, steps, caplog)(limit, case, nullcontext, go)
    assert isinstance(stopped.raised, StepBudgetExceeded)
    stopped.check()


@pytest.mark.parametrize("case", LONGER_STREAMS, ids=lambda case: case.id)
@pytest.mark.usefixtures("own_faults_dropped")
def test_a_stream_is_stopped_where_its_budget_ends_and_billed_near_the_truth(
    case: Case, mode: Mode, replay: ReplayServer, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def opens(url: str) -> Iterator[Any]:
        aws = Aws(mode)
        yield mode.run(aws.client(url))
        mode.run(aws.close())

    async def go(client: Any, seen: Seen) -> None:
        result = await mode.settle(getattr(client, METHODS[case.endpoint])(**arguments(case)))
        async for event in mode.each(result.get("stream") or result["body"]):
            seen.note("event", event)

    ledger = Ledger()
    with instrumented(sinks=[ledger]) as steps:
        brakes = Brakes(mode, replay, steps, caplog)
        check_stops(list(first_beyond(arrivals(case))), case, opens, go, brakes, ledger)


@pytest.mark.parametrize("method", ["converse", "invoke_model"])
def test_what_a_call_allows_is_lowered_to_what_there_is_room_for(
    method: str, mode: Mode, replay: ReplayServer, steps: ModuleType
) -> None:
    exchange = replay.serve(Answer(400, (b"{}",), headers={"content-type": "application/json"}))
    settings = {"maxTokens": 5_000}
    given: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": settings}
    if method == "invoke_model":
        given = {"body": json.dumps({"prompt": "hello", "max_tokens": 5_000})}

    async def go() -> None:
        aws = Aws(mode)
        try:
            client = await aws.client(f"{replay.address}/{exchange.token}")
            with pytest.raises(Exception, match=r"\(400\)|Bad Request"):
                await mode.settle(getattr(client, method)(modelId="m", **given))
        finally:
            await aws.close()

    with steps.step("s", max_output_tokens=40, preflight="reserve", cap_output=True):
        mode.run(go())
    assert output_cap(exchange.requests[0].json()) == 40
    assert settings == {"maxTokens": 5_000}  # it is the app's
