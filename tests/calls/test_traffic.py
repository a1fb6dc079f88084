"""Recorded traffic through the real clients, every way there is to call them: the bill is what was recorded, the app sees no difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from otel_harn_steps.testing._seen import first_difference
from tests.instrumented import Spans
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill, bill_of
from tests.replay.cases import Case
from tests.replay.clients import Clients
from tests.replay.outcomes import Outcome, Twice
from tests.replay.results import replayed
from tests.replay.runs import Trip, trips

_PLAINLY = frozenset({"create", "create.for"})
"""The plainest way to make a call."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One recorded case, called in one way."""

    outcome: Outcome
    spans: Spans

    @property
    def case(self) -> Case:
        return self.outcome.trip.case

    @property
    def expected(self) -> tuple[Bill, ...]:
        """What the bill may be. It is certain but where a client gives up in mid-stream: the usage may have passed by then."""
        if not self.outcome.bare.exchange.requests:
            return (NO_CALL,)  # the client refused to send it
        if self.case.stream and self.outcome.bare.seen.values("raised"):
            return UNMETERED_CALL, bill_of(self.case)
        return (bill_of(self.case),)

    @property
    def record(self) -> Any:
        return self.outcome.record


def made(trip: Trip, twice: Twice) -> Traffic:
    spans = Spans()
    return Traffic(twice(trip, settings={"tracer_provider": spans.provider}), spans)


@pytest.fixture(scope="module", params=trips(), ids=str)
def traffic(request: pytest.FixtureRequest, twice: Twice) -> Traffic:
    """Every case in every way."""
    return made(request.param, twice)


@pytest.fixture(scope="module", params=[trip for trip in trips() if trip.way.name in _PLAINLY], ids=str)
def plain_traffic(request: pytest.FixtureRequest, twice: Twice) -> Traffic:
    """Every case, for what does not depend on the way."""
    return made(request.param, twice)


def test_the_app_sees_what_it_saw_without_us(traffic: Traffic) -> None:
    assert first_difference(traffic.outcome.bare.seen, traffic.outcome.ours.seen) is None


def test_the_step_is_billed_what_was_recorded(
    traffic: Traffic, clients: Clients, record_property: Callable[[str, object], None]
) -> None:
    replayed(record_property, traffic.case, clients.mode.name, Bill.of_record(traffic.record))
    assert Bill.of_record(traffic.record) in traffic.expected


def test_the_request_is_the_same_but_for_asking_for_usage(traffic: Traffic) -> None:
    bare, ours = (
        [received.json() for received in run.exchange.requests] for run in (traffic.outcome.bare, traffic.outcome.ours)
    )
    asks = traffic.case.stream and traffic.case.endpoint in {"chat.completions", "completions"}
    for request in (*bare, *ours) if asks else ():
        assert request.pop("stream_options", None) in (None, {"include_usage": True})
    assert ours == bare


def test_the_record_names_the_model_that_answered(plain_traffic: Traffic) -> None:
    case = plain_traffic.case
    called = plain_traffic.expected != (NO_CALL,)
    assert plain_traffic.record.model == ((case.response_model or case.request_model) if called else None)


def test_the_step_span_shows_what_the_record_says(plain_traffic: Traffic) -> None:
    (span,) = plain_traffic.spans.finished("step ")
    # Absent for 0.
    shown = {name: (span.attributes or {}).get(f"harn.step.{name}", 0) for name in Bill.__slots__}
    assert shown == asdict(Bill.of_record(plain_traffic.record))


def test_the_cost_is_what_an_independent_reading_says(plain_traffic: Traffic) -> None:
    expected_usd = _independent_usd(plain_traffic.case)
    if expected_usd is None or plain_traffic.expected != (bill_of(plain_traffic.case),):
        pytest.skip("no independent reading of this cost")
    assert plain_traffic.record.cost_usd == pytest.approx(expected_usd, abs=1e-12)


def _independent_usd(case: Case) -> float | None:
    """What the provider itself says, or else what genai-prices reads from the usage object, where that is all there is to know.

    It does not see fees for searches that stand in the output, nor `usage.iterations`; DeepSeek's prices change with the hour.
    """
    if case.provider == "openrouter":
        reported = (case.expected_usage or {}).get("cost")
        return None if reported is None else float(reported)
    hidden = "iterations" in (case.expected_usage or {}) or b"web_search_call" in case.body
    if case.oracle_usd is None or hidden or case.hand_edited or case.provider == "deepseek":
        return None
    return float(case.oracle_usd)
