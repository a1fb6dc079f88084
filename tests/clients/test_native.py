"""What holds for every client with a protocol of its own: the app sees no difference, and the bill is what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps.testing._seen import first_difference
from tests.replay.answers import recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL
from tests.replay.cases import Case
from tests.replay.native import (
    LEAVING,
    PACKAGES,
    Native,
    Outcome,
    ignores,
    json_answer,
    native_bill,
    native_cases,
    pulls,
    reads,
)
from tests.replay.results import OWN_CLIENTS, replayed

CASES = native_cases()
STREAMS = native_cases(stream=True)
ONE_EACH = list({case.provider: case for case in CASES if case.expected_usage and case.response_model}.values())
GROUNDED = {"google_genai.streamGenerateContent.stream.native_output_with_builtin_tools_stream"}
FLEX = {"google_vertex.streamGenerateContent.stream.google_vertex_service_tier_flex_stream"}
pytestmark = [
    pytest.mark.skipif(not CASES, reason=f"none of {', '.join(PACKAGES.values())} is installed"),
    # of google-genai 1
    pytest.mark.filterwarnings("ignore:Interactions usage is experimental"),
    pytest.mark.filterwarnings("ignore:Async interactions client cannot use aiohttp"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
]
of_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
of_stream = pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.id)
def outcome(request: pytest.FixtureRequest, native: Native) -> Outcome:
    """Every recorded case, read to its end."""
    return native(request.param)


def test_the_app_sees_what_it_saw_without_us(outcome: Outcome) -> None:
    assert first_difference(outcome.bare, outcome.ours) is None


def test_the_step_is_billed_what_was_recorded(
    outcome: Outcome, native: Native, record_property: Callable[[str, object], None]
) -> None:
    library = OWN_CLIENTS.get(outcome.case.provider, "")
    replayed(record_property, outcome.case, native.mode.name, outcome.bill, library)
    assert outcome.bill == native_bill(outcome.case)


def test_the_record_names_the_model_that_answered(outcome: Outcome) -> None:
    called = native_bill(outcome.case) != NO_CALL
    assert outcome.record.model == ((outcome.case.response_model or outcome.case.request_model) if called else None)


def test_the_cost_is_what_an_independent_reading_says(outcome: Outcome) -> None:
    if outcome.case.oracle_usd is None or outcome.case.id in GROUNDED | FLEX:
        pytest.skip("no independent reading of this cost")
    assert outcome.record.cost_usd == pytest.approx(float(outcome.case.oracle_usd), abs=1e-12)


@of_stream
def test_a_stream_that_is_pulled_is_billed_as_one_that_is_looped_over(case: Case, native: Native) -> None:
    outcome = native(case, pulls)
    assert (outcome.bill, first_difference(outcome.bare, outcome.ours)) == (native_bill(case), None)


@of_stream
@pytest.mark.parametrize("way", LEAVING, ids=lambda way: way.__name__)
def test_a_stream_that_is_left_is_one_call_billed_with_what_it_told(case: Case, way: Any, native: Native) -> None:
    outcome = native(case, way)
    assert first_difference(outcome.bare, outcome.ours) is None
    assert (outcome.record.llm_calls, outcome.record.status) == (1, "completed")
    assert outcome.bill == UNMETERED_CALL or case.provider.startswith("google")


@of_stream
def test_a_stream_that_is_never_read_is_a_call_only_if_it_was_sent(case: Case, native: Native) -> None:
    outcome = native(case, ignores)
    assert outcome.bill == (UNMETERED_CALL if outcome.requests else NO_CALL)


@of_stream
def test_a_stream_that_breaks_off_raises_what_it_raised_without_us(case: Case, native: Native) -> None:
    outcome = native(case, reads, recorded(case, cut_after=1))
    assert first_difference(outcome.bare, outcome.ours) is None
    assert outcome.record.llm_calls == 1


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.provider)
def test_a_rejected_request_is_no_call(case: Case, native: Native) -> None:
    outcome = native(case, reads, json_answer({"message": "no", "error": {"code": 400, "message": "no"}}, 400))
    assert outcome.bare.values("raised")
    assert (outcome.bill, first_difference(outcome.bare, outcome.ours)) == (NO_CALL, None)


@of_case
def test_a_budget_is_held_at_the_end_of_the_call_that_crosses_it(case: Case, native: Native) -> None:
    bill = native_bill(case)
    if bill.input_tokens + bill.output_tokens == 0:
        pytest.skip("reports no tokens")
    outcome = native(case, budget={"max_tokens": 1})
    if outcome.bare.values("raised"):  # paid for, and then not understood by the client: its error goes first
        assert first_difference(outcome.bare, outcome.ours) is None
    else:
        (raised,) = outcome.ours.values("raised")
        assert raised[0] is StepBudgetExceeded
        assert len(outcome.ours.values("value")) == (len(outcome.bare.values("value")) if case.stream else 0)
    assert isinstance(outcome.left, StepBudgetExceeded)
    assert outcome.bill == bill
