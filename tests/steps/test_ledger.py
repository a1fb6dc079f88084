"""The ledger: every call is a row from the moment it is sent, and no spend escapes. House plan, 2.2, 2.5, 2.7."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import otel_harn_steps as harn
from otel_harn_steps import (
    CallRow,
    CompletedStep,
    StartedStep,
    StepBudgetExceeded,
    StepBudgetStop,
    record_llm_usage,
    step,
)
from otel_harn_steps.providers import Call, ClientAdapter, ParsedResponse, Request, Seam
from otel_harn_steps.testing import ReplayServer
from tests.instrumented import Spans, instrumented
from tests.provider import MODEL, PRICES, Provider, provider
from tests.steps.sinks import Ledger


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    harn.reset_steps()
    gc.freeze()  # so that a collection looks only at what comes from here on
    yield
    gc.collect()  # a stream that a test has left is of this test
    harn.reset_steps()


def cost_of(record: CompletedStep) -> int:
    return round(record.cost_usd * 10**12)


def test_a_call_has_a_row_when_it_is_sent_and_a_whole_one_when_it_has_settled(llm: Provider, ledger: Ledger) -> None:
    with harn.labels(tenant="acme"), step("outer", agent="writer") as outer, step("inner") as inner:
        llm.ask(100, 20)
    assert [event for event, _ in ledger.events] == ["started", "started", "sent", "settled", "ended", "ended"]
    (sent,), (settled,) = ledger.of("sent"), ledger.of("settled")
    assert (sent.outcome, sent.duration_ns, sent.input_tokens, sent.requested_model) == ("open", None, None, MODEL)
    assert (settled.call_id, settled.sent_at, settled.run_id) == (sent.call_id, sent.sent_at, sent.run_id)
    assert (settled.step_id, settled.parent_id) == (inner.step_id, outer.step_id)
    assert (settled.step, settled.path, settled.agent, settled.labels) == (
        "inner",
        "outer/inner",
        "writer",
        {"tenant": "acme"},
    )
    assert (settled.outcome, settled.certainty, settled.price_book, settled.late) == (
        "answered",
        "measured",
        "prices",
        False,
    )
    assert (settled.input_tokens, settled.output_tokens, settled.cost_picousd) == (100, 20, llm.handed_out.cost_picousd)
    assert CallRow.from_dict(settled.to_dict()) == settled
    assert settled.duration_ns > 0


def test_a_step_says_that_it_has_begun(llm: Provider, ledger: Ledger) -> None:
    with step("plan", max_tokens=100, max_usd=0.5, error_boundary="continue", model="m") as active:
        (started,) = ledger.of("started")
    assert (started.step_id, started.run_id, started.parent_id) == (
        active.step_id,
        harn.peek_completed_steps()[0].run_id,
        None,
    )
    assert (started.name, started.path, started.max_tokens, started.max_usd) == ("plan", "plan", 100, 0.5)
    assert (started.error_boundary, started.model) == ("continue", "m")
    assert StartedStep.from_dict(started.to_dict()) == started


def test_ids_are_there_without_an_sdk_and_those_of_the_spans_with_one(spans: Spans) -> None:
    with step("a") as bare, step("b") as below:
        pass
    assert len(bare.step_id) == len(below.step_id) == 16
    assert bare.step_id != below.step_id
    records = {record.name: record for record in harn.drain_completed_steps()}
    assert records["b"].parent_id == records["a"].step_id == bare.step_id
    assert records["a"].run_id == records["b"].run_id != ""
    with instrumented(tracer_provider=spans.provider):
        with step("c") as shown:
            pass
        (record,) = harn.drain_completed_steps()
    assert record.step_id == record.span_id == shown.step_id == f"{spans.finished()[0].context.span_id:016x}"


def test_a_step_with_two_models_is_split_by_them() -> None:
    with step("s"):
        record_llm_usage("big", 100, 10, 0.5, provider="a")
        record_llm_usage("small", 7, 1, 0.25, provider="b")
        record_llm_usage("small", 3, 1, None, provider="b")
    (record,) = harn.drain_completed_steps()
    split = {
        (each.provider, each.model): (each.llm_calls, each.input_tokens, each.cost_usd) for each in record.by_model
    }
    assert split == {("a", "big"): (1, 100, 0.5), ("b", "small"): (2, 10, 0.25)}
    assert [each.unpriced_calls for each in record.by_model] == [0, 1]
    assert CompletedStep.from_dict(record.to_dict()) == record


@pytest.mark.parametrize("status", [400, 500])
def test_a_call_that_the_provider_rejected_is_a_row_and_no_bill(llm: Provider, ledger: Ledger, status: int) -> None:
    wanted = [{"role": "user", "content": f'{{"status": {status}}}'}]
    with pytest.raises(openai.APIStatusError), step("s"):
        llm.client.chat.completions.create(model=MODEL, messages=wanted)
    assert [(row.outcome, row.cost_picousd) for row in ledger.of("settled")] == [("failed", None)]
    (record,) = ledger.of("ended")
    assert (record.llm_calls, record.open_calls) == (0, 0)


def test_a_refused_call_leaves_a_row_that_says_so(llm: Provider, ledger: Ledger) -> None:
    with pytest.raises(StepBudgetExceeded), step("s", max_tokens=10):
        with pytest.raises(StepBudgetExceeded):
            llm.ask(10, 10)
        llm.ask(10, 10)
    assert [row.outcome for row in ledger.of("settled")] == ["answered", "refused"]
    assert len(ledger.of("sent")) == llm.handed_out.calls == 1


def test_a_stream_that_is_left_is_cut_and_one_that_is_read_is_answered(llm: Provider, ledger: Ledger) -> None:
    with step("s"):
        for _ in llm.ask(10, 4, stream=True):
            pass
        stream = llm.ask(10, 4, stream=True)
        next(iter(stream))
        stream.close()
    assert [row.outcome for row in ledger.of("settled")] == ["answered", "cut"]
    assert [row.certainty for row in ledger.of("settled")] == ["measured", "unknown"]


class Gateway:
    """A client on top of another, as litellm is."""

    def __init__(self, llm: Provider) -> None:
        self.llm = llm

    def complete(self, *, model: str, calls: int = 1) -> Any:
        return [self.llm.ask(10, 5) for _ in range(calls)]


class GatewayAdapter(ClientAdapter):
    name = "gateway"
    seams = (Seam(__name__, "Gateway.complete"),)

    def request(self, call: Call) -> Request:
        return Request("chat", "gateway", call.kwargs["model"], may_delegate=True)

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        return ParsedResponse()


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_call_through_two_clients_has_one_row_for_each_request(
    replay: ReplayServer, ledger: Ledger, calls: int
) -> None:
    with instrumented(sinks=[ledger], prices=PRICES, providers=[GatewayAdapter()]), provider(replay) as llm:
        with step("s") as active:
            Gateway(llm).complete(model="m", calls=calls)
            assert active.open_calls == 0
    sent, settled = ledger.of("sent"), ledger.of("settled")
    assert [row.call_id for row in sent] == [row.call_id for row in settled]
    assert len(settled) == max(calls, 1)
    if calls:
        assert [(row.provider, row.input_tokens) for row in settled] == [("openai", 10)] * calls
    assert active.llm_calls == max(calls, 1)


def test_a_call_through_two_clients_holds_room_once(replay: ReplayServer) -> None:
    with instrumented(prices=PRICES, providers=[GatewayAdapter()]), provider(replay) as llm:
        with step("s", max_tokens=15, preflight="reserve") as active:
            Gateway(llm).complete(model="m", calls=1)
        assert (active.input_tokens, active.output_tokens) == (10, 5)


@pytest.mark.parametrize("hard_stop_after", [0, 3])
def test_a_call_that_a_client_below_was_refused_was_not_sent(
    replay: ReplayServer, ledger: Ledger, hard_stop_after: int
) -> None:
    kind = StepBudgetExceeded if hard_stop_after else StepBudgetStop
    with instrumented(sinks=[ledger], prices=PRICES, providers=[GatewayAdapter()]), provider(replay) as llm:
        with (
            pytest.raises(StepBudgetExceeded),
            step("s", max_tokens=8, preflight="reserve", hard_stop_after=hard_stop_after) as active,
        ):
            with pytest.raises(kind) as refused:
                Gateway(llm).complete(model="m", calls=1)  # has room for what it says, and the client below says more
            raise refused.value
    assert (active.llm_calls, active.estimated_tokens, active.open_calls) == (0, 0, 0)
    assert llm.handed_out.calls == 0
    assert {row.outcome for row in ledger.of("settled")} == {"failed", "refused"}


# -- what comes after a step has ended -----------------------------------------------------------------------------------


async def is_sent(ledger: Ledger) -> None:
    """Let the other tasks run until one of them has sent a call."""
    while not ledger.of("sent"):  # noqa: ASYNC110 -- an Event would be set by the code under test
        await asyncio.sleep(0)


def test_a_call_in_flight_at_its_steps_exit_amends_the_step(llm: Provider, ledger: Ledger) -> None:
    async def main() -> None:
        with step("outer"):
            async with step("fans out", max_tokens=1):
                task = asyncio.create_task(llm.ask_async(100, 20))
                await is_sent(ledger)
            await task

    asyncio.run(main())
    first, amendment, outer = ledger.of("ended")
    assert (first.name, first.llm_calls, first.open_calls, first.status) == ("fans out", 0, 1, "completed")
    assert amendment.amends == first.step_id == amendment.step_id
    assert (amendment.name, amendment.path, amendment.status) == ("fans out", "outer/fans out", "completed")
    assert (amendment.llm_calls, amendment.input_tokens, amendment.output_tokens) == (1, 100, 20)
    assert amendment.start_time == amendment.end_time
    assert amendment.breach == "max_tokens"  # noted, and raised by nobody: the boundary is gone
    assert (outer.total_llm_calls, outer.total_input_tokens) == (1, 100)
    assert [row.late for row in ledger.of("settled")] == [True]


def test_a_living_step_above_judges_a_late_call(llm: Provider, ledger: Ledger) -> None:
    async def main() -> None:
        with step("outer", max_tokens=50, scope="tree"):
            async with step("fans out"):
                task = asyncio.create_task(llm.ask_async(100, 20))
                await is_sent(ledger)
            await task

    with pytest.raises(StepBudgetExceeded) as caught:
        asyncio.run(main())
    assert caught.value.step == "outer"


def test_a_late_call_amends_every_step_above_that_has_ended(llm: Provider, ledger: Ledger) -> None:
    async def main() -> None:
        with step("outer"), step("inner"):
            task = asyncio.create_task(llm.ask_async(100, 20))
            await is_sent(ledger)
        await task

    asyncio.run(main())
    amendments = [record for record in ledger.of("ended") if record.amends]
    assert [(each.name, each.llm_calls, each.total_llm_calls) for each in amendments] == [
        ("inner", 1, 1),
        ("outer", 0, 1),
    ]


def test_a_call_that_begins_after_its_step_is_not_refused_by_it(llm: Provider, ledger: Ledger) -> None:
    async def later(gate: asyncio.Event) -> None:
        await gate.wait()
        await llm.ask_async(10, 10)

    async def main() -> None:
        gate = asyncio.Event()
        with pytest.raises(StepBudgetExceeded):
            async with step("s", max_tokens=10):
                task = asyncio.create_task(later(gate))
                await llm.ask_async(10, 10)
        gate.set()
        await task

    asyncio.run(main())
    assert [record.llm_calls for record in ledger.of("ended")] == [1, 1]
    assert llm.handed_out.calls == 2


def test_a_stream_that_is_read_after_its_step_amends_it_with_the_difference(llm: Provider, ledger: Ledger) -> None:
    @step("returned")
    def returned() -> Any:
        return llm.ask(100, 20, stream=True)

    chunks = list(returned())
    assert len(chunks) == 21  # and not the one that we asked for
    first, amendment = ledger.of("ended")
    assert (first.llm_calls, first.unmetered_calls, first.open_calls) == (1, 1, 1)
    assert (amendment.llm_calls, amendment.unmetered_calls, amendment.input_tokens, amendment.output_tokens) == (
        0,
        -1,
        100,
        20,
    )
    assert cost_of(first) + cost_of(amendment) == llm.handed_out.cost_picousd
    assert [(row.outcome, row.input_tokens) for row in ledger.of("settled")] == [("answered", 100)]


def test_a_stream_that_is_never_read_on_is_billed_once(llm: Provider, ledger: Ledger) -> None:
    with step("s"):
        stream = llm.ask(100, 20, stream=True)
        next(iter(stream))
    del stream
    gc.collect()
    assert [(record.llm_calls, record.unmetered_calls) for record in ledger.of("ended")] == [(1, 1)]
    assert [row.outcome for row in ledger.of("settled")] == ["cut"]


# -- nothing unknown is free -----------------------------------------------------------------------------------------------


def test_streams_that_are_broken_off_are_held_to_the_budget(llm: Provider, ledger: Ledger) -> None:
    with pytest.raises(StepBudgetExceeded) as caught, step("s", max_tokens=10):
        for _ in range(30):
            for _ in llm.ask(100, 20, stream=True):
                break
    assert llm.handed_out.calls == 1
    (record,) = ledger.of("ended")
    assert record.estimated_tokens > 10
    assert (record.input_tokens, record.output_tokens, record.unmetered_calls) == (0, 0, llm.handed_out.calls)
    assert caught.value.consumed_tokens == record.estimated_tokens
    gc.collect()  # the client's stream is a cycle
    settled = sorted((row.outcome, row.certainty) for row in ledger.of("settled"))
    assert settled == [("cut", "estimated"), ("refused", "unknown")]
    assert len(ledger.of("ended")) == 1  # nothing came later


def test_without_a_budget_nothing_is_estimated(llm: Provider, ledger: Ledger) -> None:
    with step("s"):
        for _ in llm.ask(100, 20, stream=True):
            break
    (record,) = ledger.of("ended")
    assert (record.estimated_tokens, record.estimated_cost_usd) == (0, 0.0)


@pytest.mark.parametrize(("policy", "is_refused"), [("estimate", True), ("ignore", False), ("refuse", True)])
def test_what_a_budget_makes_of_unknown_usage_is_a_setting(replay: ReplayServer, policy: str, is_refused: bool) -> None:
    refused = False
    with instrumented(prices=PRICES, unmetered=policy), provider(replay) as llm:
        try:
            with step("s", max_tokens=2):
                for _ in llm.ask(100, 20, stream=True):
                    break
        except StepBudgetExceeded:
            refused = True
        (record,) = harn.drain_completed_steps()
    assert refused is is_refused
    assert (record.estimated_tokens > 0) is (policy == "estimate")


@pytest.mark.parametrize(("policy", "is_refused"), [("estimate", True), ("ignore", False), ("refuse", True)])
def test_what_a_budget_makes_of_an_unknown_price_is_a_setting(policy: str, is_refused: bool) -> None:
    refused = False
    with instrumented(unpriced=policy):
        try:
            with step("s", max_usd=0.001):
                record_llm_usage("nobody-knows-it", 1_000_000, 1_000, provider="openai")
        except StepBudgetExceeded:
            refused = True
        (record,) = harn.drain_completed_steps()
    assert refused is is_refused
    assert (record.cost_usd, record.unpriced_calls) == (0.0, 1)
    assert (record.estimated_cost_usd > 0) is (policy == "estimate")


# -- runs --------------------------------------------------------------------------------------------------------------------


def test_a_run_is_billed_what_no_step_claims(llm: Provider, ledger: Ledger) -> None:
    with harn.run("nightly") as nightly:
        llm.ask(10, 1)
        with step("s"):
            llm.ask(100, 20)
        assert (nightly.llm_calls, nightly.total_llm_calls) == (1, 2)
        assert (nightly.input_tokens, nightly.total_input_tokens) == (10, 110)
    rows = ledger.of("settled")
    assert [(row.step, row.step_id is None, row.path) for row in rows] == [("(no step)", True, ""), ("s", False, "s")]
    assert {row.run_id for row in rows} == {nightly.run_id}
    assert ledger.of("ended")[0].run_id == nightly.run_id


def test_without_a_step_and_a_run_a_call_is_not_touched(llm: Provider, ledger: Ledger) -> None:
    llm.ask()
    assert ledger.events == []


def test_a_run_in_a_run_is_the_same_run() -> None:
    with harn.run("outer") as outer, harn.run("inner") as inner:
        assert inner is outer is harn.current_run()
    assert harn.current_run() is None


@pytest.mark.parametrize("name", [None, 5, ""])
def test_a_run_has_a_name(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="a run's name must"):
        harn.run(name)


def test_hand_counted_calls_of_a_run_are_rows_too(ledger: Ledger) -> None:
    with instrumented(sinks=[ledger]), harn.run("r") as account:
        record_llm_usage("m", 10, 5, 0.25, provider="p")
    assert (account.cost_usd, account.llm_calls) == (0.25, 1)
    assert [(row.outcome, row.cost_picousd, row.price_book) for row in ledger.of("settled")] == [
        ("answered", 25 * 10**10, "given")
    ]


# -- sinks -------------------------------------------------------------------------------------------------------------------


def test_each_method_of_a_sink_is_optional_and_its_faults_are_its_own(replay: ReplayServer) -> None:
    seen: Counter[str] = Counter()

    class OnlyCalls:
        def call_settled(self, row: CallRow) -> None:
            seen["settled"] += 1

    class Fails:
        def call_sent(self, row: CallRow) -> None:
            seen["failed"] += 1
            raise ZeroDivisionError

        step_started = call_settled = call_sent

    with instrumented(sinks=[Fails(), OnlyCalls()], prices=PRICES), provider(replay) as llm, step("s"):
        llm.ask()
    assert seen == {"failed": 3, "settled": 1}
