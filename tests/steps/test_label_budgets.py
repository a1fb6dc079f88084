"""`instrument(budgets={"tenants": {"key": "tenant", "window": "day", "max_usd": 5}})`: what each tenant may spend."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.context import attach, detach

import otel_harn_steps as harn
from otel_harn_steps import StepBudgetExceeded, StepBudgetStop, drain_completed_steps, labels, step
from otel_harn_steps._steps import label_budgets
from tests.provider import PRICES, Provider
from tests.steps.sinks import Ledger
from tests.steps.spending import is_refused_in_a_fork, spend

CALL_USD = Decimal("0.000065")  # 10 * 3 + 5 * 7 millionths
DAY_S = 86_400


def instrument(budgets: Mapping[str, Any], **options: Any) -> None:
    harn.instrument(prices=PRICES, budgets=budgets, **options)


def per_tenant(**limits: Any) -> dict[str, Any]:
    return {"tenants": {"key": "tenant", "window": "day", **limits}}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What budgets take for the time: no test runs at midnight."""
    clock = Clock()
    monkeypatch.setattr(label_budgets, "time", clock)
    return clock


def test_a_tenant_that_has_spent_its_budget_is_refused_and_others_go_on(llm: Provider) -> None:
    instrument(per_tenant(max_usd=2 * CALL_USD))
    sent = Counter[str]()
    for name in ("acme", "globex"):
        for number in range(5):
            with labels(tenant=name), step(f"s{number}", error_boundary="continue"):
                llm.ask()
                sent[name] += 1
    assert sent == {"acme": 2, "globex": 2}
    assert llm.handed_out.calls == 6  # with "exhausted", the one that crosses is sent


def test_the_error_names_the_budget_the_label_and_the_value(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1))
    with labels(tenant="acme"), step("plan"):
        llm.ask()
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask()
        caught.value.accept()
    error = caught.value
    assert str(error) == "tenant `acme` exceeded max_calls budget `tenants` (2 > 1)"
    assert (error.budget_of, error.step, error.label) == ("label", "tenants", ("tenant", "acme"))
    assert {key: error.as_dict()[key] for key in ("label", "label_value")} == {"label": "tenant", "label_value": "acme"}
    assert pickle.loads(pickle.dumps(error)).label == ("tenant", "acme")
    assert llm.handed_out.calls == 1


def test_room_is_reserved_per_tenant(llm: Provider) -> None:
    instrument(per_tenant(max_tokens=20, preflight="reserve"))
    with step("s"):
        for tenant in ("acme", "globex"):
            with labels(tenant=tenant):
                llm.ask(10, 5, max_tokens=5)
        with labels(tenant="acme"), pytest.raises(StepBudgetExceeded, match="tenant `acme` has no room in its max_tok"):
            llm.ask(10, 5, max_tokens=5)
    assert llm.handed_out.calls == 2


def test_labels_count_where_the_call_is_made_and_not_where_its_step_began(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1))
    with step("batch"):
        for tenant in ("acme", "globex", "initech"):
            with labels(tenant=tenant):
                llm.ask()
        llm.ask()  # no tenant's
        with labels(tenant="globex"), pytest.raises(StepBudgetExceeded) as caught:
            llm.ask()
    assert caught.value.label == ("tenant", "globex")
    assert llm.handed_out.calls == 4


def test_calls_of_a_run_without_steps_are_bounded_too_and_no_hard_stop_reaches_the_app(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1))
    with harn.run("server"), labels(tenant="acme"):
        llm.ask()
        for _ in range(10):
            with pytest.raises(StepBudgetExceeded):
                llm.ask()
    assert llm.handed_out.calls == 1


def test_a_budget_of_each_of_two_labels_covers_a_call_that_has_both(llm: Provider) -> None:
    instrument(
        {
            "tenants": {"key": "tenant", "max_calls": 3},
            "users": {"key": "user", "max_calls": 2, "window": "hour"},
            "bursts": {"key": "user", "max_calls": 2, "window": "run", "mode": "shadow"},
        }
    )
    refused = []
    with step("s"):
        for user in ("ada", "ada", "ada", "bob", "bob"):
            try:
                with labels(tenant="acme", user=user):
                    llm.ask()
            except StepBudgetExceeded as error:
                refused.append((error.accept(), error.step, error.label)[1:])
    assert refused == [("users", ("user", "ada")), ("tenants", ("tenant", "acme"))]


def test_the_outermost_step_of_the_label_decides_by_its_boundary(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1))

    @step("inner", error_boundary="continue", fallback="nothing")
    def inner() -> str:
        return str(llm.ask() and llm.ask())

    @step("outer", error_boundary="continue", fallback="what there is")
    def outer() -> str:
        return inner()

    with labels(tenant="acme"):
        assert outer() == "what there is"
    with step("batch"), labels(tenant="globex"):
        assert outer() == "what there is"
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("inner", "failed"),
        ("outer", "skipped"),
        ("inner", "failed"),
        ("outer", "skipped"),
        ("batch", "completed"),
    ]


def test_a_loop_that_tries_again_is_ended_in_each_step_and_later_requests_are_refused_as_the_first(
    llm: Provider,
) -> None:
    instrument(per_tenant(max_calls=1))
    for _ in range(3):
        with pytest.raises(StepBudgetExceeded), labels(tenant="acme"), step("s"):
            for _ in range(100):
                try:
                    llm.ask()
                except Exception:  # noqa: BLE001 -- as frameworks do
                    continue
    assert llm.handed_out.calls == 1


def test_a_hundred_at_once_hold_room_together_by_tenant(llm: Provider) -> None:
    instrument(per_tenant(max_tokens=150, preflight="reserve"))
    sent = Counter[str]()

    async def one(tenant: str) -> None:
        with labels(tenant=tenant):
            try:
                async with step("s"):
                    await llm.ask_async(10, 5, max_tokens=5)
            except StepBudgetExceeded:
                return
        sent[tenant] += 1

    async def all_of_them() -> None:
        await asyncio.gather(*[one(f"tenant {number % 2}") for number in range(100)])

    asyncio.run(all_of_them())
    assert set(sent) == {"tenant 0", "tenant 1"}
    assert all(0 < each * 15 <= 150 for each in sent.values())
    assert llm.handed_out.calls == sum(sent.values())


def test_calls_in_threads_wait_for_the_room_of_their_tenant(llm: Provider) -> None:
    instrument(per_tenant(max_tokens=20 * 15 + 5, preflight="reserve", on_contention="wait"))

    def one() -> None:
        with step("s"):
            llm.ask(10, 5, max_tokens=5)

    with labels(tenant="acme"), ThreadPoolExecutor(8) as pool:
        contexts = [copy_context() for _ in range(20)]
        list(pool.map(lambda context: context.run(one), contexts))
    assert llm.handed_out.calls == 20


def test_a_stream_is_stopped_where_the_tenants_budget_has_no_room_for_it(llm: Provider) -> None:
    instrument(per_tenant(max_tokens=100, stop_streams=True))
    with labels(tenant="acme"), step("s"), pytest.raises(StepBudgetExceeded) as caught:
        for _ in llm.ask(10, 2000, stream=True):
            pass
    assert (caught.value.label, caught.value.limit) == (("tenant", "acme"), "max_tokens")
    assert caught.value.partial is not None
    with labels(tenant="acme"), step("s"), pytest.raises(StepBudgetExceeded):
        llm.ask()
    assert llm.handed_out.calls == 1


def test_shadow_stops_nothing_and_says_what_it_would_have(llm: Provider, caplog: pytest.LogCaptureFixture) -> None:
    instrument(per_tenant(max_calls=1, mode="shadow"))
    with caplog.at_level("INFO", "otel_harn_steps"), labels(tenant="acme"), step("s"):
        for _ in range(3):
            llm.ask()
    told = [record.getMessage() for record in caplog.records if "would have" in record.getMessage()]
    assert told == ["tenant `acme`: would have stopped:max_calls"]
    assert llm.handed_out.calls == 3


def test_shares_of_a_tenants_budget_notify_downgrade_and_tell(llm: Provider) -> None:
    at = {0.5: "notify", 0.6: "downgrade:gpt-5-nano", 0.7: "tell"}
    instrument(per_tenant(max_calls=4, at=at))
    seen = []
    harn.on_budget_threshold(lambda account, share: seen.append((account.label, share)))
    with step("s") as active:
        with labels(tenant="acme"):
            llm.ask()
            llm.ask()
            assert (active.default_model, active.is_told, active.remaining().calls) == (None, False, 2)
            llm.ask()
            assert (active.default_model, active.is_told, active.remaining().calls) == ("gpt-5-nano", True, 1)
        with labels(tenant="globex"):
            assert (active.default_model, active.is_told, active.remaining().calls) == (None, False, 4)
        assert (active.default_model, active.is_told, active.remaining().calls) == (None, False, None)
    assert seen == [(("tenant", "acme"), 0.5), (("tenant", "acme"), 0.6), (("tenant", "acme"), 0.7)]


@pytest.mark.parametrize(
    ("window", "inside_s", "next_s"),
    # 1,700,000,000 is 2023-11-14 22:13:20 of UTC.
    [("hour", 2799, 2800), ("day", 6399, 6400), ("month", 6400 + 16 * DAY_S - 1, 6400 + 16 * DAY_S)],
)
def test_a_window_ends_with_that_of_utc(window: str, inside_s: int, next_s: int, llm: Provider, clock: Clock) -> None:
    instrument({"tenants": {"key": "tenant", "window": window, "max_calls": 1}})
    began_s = clock.now_s
    with labels(tenant="acme"), step("s"):
        llm.ask()
        clock.now_s = began_s + inside_s
        with pytest.raises(StepBudgetExceeded):
            llm.ask()
        clock.now_s = began_s + next_s
        llm.ask()
        clock.now_s = began_s  # the clock is set back: what was spent counts
        with pytest.raises(StepBudgetExceeded) as caught:
            llm.ask()
        caught.value.accept()
    assert llm.handed_out.calls == 2


def test_the_window_of_a_run_ends_with_it(llm: Provider, clock: Clock) -> None:
    instrument({"tenants": {"key": "tenant", "max_calls": 1}})
    for name in ("monday", "tuesday"):
        with harn.run(name), labels(tenant="acme"), step("s", error_boundary="continue"):
            llm.ask()
            clock.now_s += 40 * DAY_S
            llm.ask()
    assert llm.handed_out.calls == 2


def test_a_call_counts_in_the_window_that_it_was_sent_in(llm: Provider, clock: Clock) -> None:
    instrument(per_tenant(max_calls=1))
    with labels(tenant="acme"), step("s"):
        stream = llm.ask(stream=True)
        clock.now_s += DAY_S
        list(stream)
        llm.ask()
    assert llm.handed_out.calls == 2


def test_values_of_a_window_that_is_over_are_forgotten_and_of_too_many_the_longest_unused(
    llm: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(label_budgets, "_MOST_VALUES", 3)
    instrument(per_tenant(max_calls=1))
    (values,) = label_budgets._last._values

    def spends(tenant: str) -> bool:
        before = llm.handed_out.calls
        with labels(tenant=tenant), step("s", error_boundary="continue"):
            llm.ask()
        return llm.handed_out.calls > before

    assert [spends(each) for each in ("a", "b", "c", "a", "d", "a", "b")] == [True] * 3 + [False, True, False, True]
    assert len(values._accounts) == 3
    assert [record.getMessage() for record in caplog.records if "more than 3 values" in record.getMessage()] == [
        (
            "budget 'tenants' has more than 3 values of label 'tenant' in one window: the value that was used longest "
            "ago is forgotten for each further one, and begins at zero when it comes again"
        )
    ]
    clock.now_s += DAY_S
    assert spends("a")
    assert len(values._accounts) == 1


def test_values_of_any_text_have_budgets_of_their_own(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1))
    values = ["", " ", "Acme", "acme", "ÄÖ☃", "A\u0308O\u0308☃", "x" * 100_000, "a`b\nc"]
    with step("s"):
        for value in values:
            with labels(tenant=value):
                llm.ask()
                with pytest.raises(StepBudgetExceeded) as caught:
                    llm.ask()
                caught.value.accept()
                assert caught.value.label == ("tenant", value)
                assert len(str(caught.value)) < 200
    assert llm.handed_out.calls == len(values)


def test_keys_of_baggage_that_are_allowed_have_their_budgets_and_labels_go_before_them(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1), baggage_labels=["tenant"])
    token = attach(baggage.set_baggage("tenant", "acme"))
    try:
        with step("s"):
            llm.ask()
            with labels(tenant="globex"):
                llm.ask()
            with pytest.raises(StepBudgetExceeded) as caught:
                llm.ask()
    finally:
        detach(token)
    assert caught.value.label == ("tenant", "acme")


def test_an_unknown_price_is_refused_in_the_tenants_name(llm: Provider) -> None:
    instrument(per_tenant(max_usd=1), unpriced="refuse")
    with labels(tenant="acme"), step("s"), pytest.raises(StepBudgetExceeded, match=r"^tenant `acme` has a max_usd bud"):
        spend(10, None, "nobody knows")


def test_what_is_estimated_counts(llm: Provider) -> None:
    instrument(per_tenant(max_tokens=10))
    with labels(tenant="acme"), step("s"), pytest.raises(StepBudgetExceeded):
        stream = llm.ask(10, 200, stream=True)
        for _ in range(100):
            next(stream)
        stream.close()
        llm.ask()
    assert llm.handed_out.calls == 1


def test_a_step_that_was_open_before_there_were_budgets_is_not_under_them(llm: Provider) -> None:
    with labels(tenant="acme"), step("s"):
        instrument(per_tenant(max_calls=1))
        llm.ask()
        llm.ask()
        with step("nested"):
            llm.ask()
    with labels(tenant="acme"), step("s"):
        llm.ask()
    assert llm.handed_out.calls == 4


def test_a_run_that_was_open_before_is_one_with_its_labels(llm: Provider) -> None:
    harn.uninstrument()
    with harn.run("nightly"):
        instrument(per_tenant(max_calls=1))
        with labels(tenant="acme"):
            llm.ask()
            with pytest.raises(StepBudgetExceeded):
                llm.ask()


def test_instrumented_again_with_the_same_budgets_what_was_spent_counts_and_with_none_nothing_is_held(
    llm: Provider,
) -> None:
    for budgets in (per_tenant(max_calls=2), per_tenant(max_calls=2), {}):
        instrument(budgets)
        with labels(tenant="acme"), step("s", error_boundary="continue"):
            llm.ask()
            llm.ask()
    assert llm.handed_out.calls == 2 + 0 + 2


def test_budgets_of_agents_and_labels_cover_a_call_together(llm: Provider) -> None:
    instrument(per_tenant(max_calls=2), agents={"writer": {"max_calls": 3}})
    refused = []
    for tenant in ("acme", "globex"):
        with labels(tenant=tenant), step("s", agent="writer"):
            for _ in range(3):
                try:
                    llm.ask()
                except StepBudgetExceeded as error:
                    error.accept()
                    refused.append((tenant, error.budget_of))
    assert refused == [("acme", "label"), ("globex", "agent"), ("globex", "agent")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_begins_with_what_was_spent_at_the_fork(llm: Provider) -> None:
    instrument(per_tenant(max_calls=2))
    with labels(tenant="acme"), step("s"):
        llm.ask()
        assert is_refused_in_a_fork(llm.ask, llm.ask)


texts = st.sampled_from(["", "acme", "ö", "x" * 50])
calls = st.lists(st.tuples(st.none() | texts, st.none() | texts, st.integers(1, 50), st.integers(0, 3)), max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=calls)
def test_what_a_value_is_held_to_is_what_the_ledger_has_of_it(calls: list[Any], llm: Provider, ledger: Ledger) -> None:
    harn.reset_steps()
    ledger.events.clear()
    instrument({"t": {"key": "tenant", "max_usd": 10**6}, "u": {"key": "user", "max_calls": 10**6}}, sinks=[ledger])
    with step("held to"):
        for tenant, user, tokens, how in calls:
            given = {name: value for name, value in (("tenant", tenant), ("user", user)) if value is not None}
            with labels(**given):
                if how == 0:
                    with step("inner"):
                        llm.ask(tokens, 1)
                elif how == 1:
                    list(llm.ask(tokens, 1, stream=True))
                elif how == 2:
                    asyncio.run(llm.ask_async(tokens, 1))
                else:
                    spend(tokens)
    # A stream of an earlier test may be freed, and settled, meanwhile.
    rows = [row for row in ledger.of("settled") if row.path.startswith("held to")]
    assert len(rows) == len(calls)
    for values, key in zip(label_budgets._last._values, ("tenant", "user"), strict=True):
        held = {
            value: (account.total_llm_calls, account.subtree.input_tokens, account.subtree.cost_picousd)
            for value, account in values._accounts.items()
        }
        billed: dict[str, tuple[int, int, int]] = {}
        for row in rows:
            if key in row.labels:
                before = billed.get(row.labels[key], (0, 0, 0))
                more = (1, row.input_tokens, row.cost_picousd or 0)
                billed[row.labels[key]] = tuple(map(sum, zip(before, more, strict=True)))  # type: ignore[assignment]  # three
        assert held == billed


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        (["tenant"], r"budgets must be a mapping such as \{'tenants': .*\}, not \['tenant'\]"),
        ({"": {"key": "tenant", "max_usd": 1}}, "budgets must have names of budgets as keys, not ''"),
        ({"t": 5}, r"budgets\['t'\]: must be a mapping such as .*, not 5"),
        ({"t": {"max_usd": 1}}, r"budgets\['t'\]: key must be the name of a label, such as 'tenant', not None"),
        ({"t": {"key": "", "max_usd": 1}}, r"budgets\['t'\]: key must be the name of a label, .*not ''"),
        ({"t": {"key": "k", "window": "days", "max_usd": 1}}, r"window must be one of 'run', .*not 'days'.*'day'\?"),
        ({"t": {"key": "k", "window": [], "max_usd": 1}}, r"window must be one of .*not \[\]"),
        ({"t": {"key": "k", "max_uds": 1}}, r"budgets\['t'\]: budget has .*not 'max_uds'; did you mean 'max_usd'\?"),
        ({"t": {"key": "k", "max_usd": -1}}, r"budgets\['t'\]: max_usd must be .*not -1"),
        ({"t": {"key": "k", "max_seconds": 3}}, r"budgets\['t'\]: the budget of a label has no max_seconds"),
        ({"t": {"key": "k", "loop": 3}}, r"budgets\['t'\]: the budget of a label has no loop"),
        ({"t": {"key": "k", "mode": "shadow"}}, r"budgets\['t'\]: must have at least one of max_tokens, max_usd, "),
    ],
)
def test_what_is_wrong_is_said_by_its_key(budgets: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        harn.instrument(budgets=budgets)


def test_a_stop_that_a_step_turns_back_is_the_tenants_error(llm: Provider) -> None:
    instrument(per_tenant(max_calls=1, hard_stop_after=0))
    with pytest.raises(StepBudgetExceeded) as caught, labels(tenant="acme"), step("s"):
        llm.ask()
        with pytest.raises(StepBudgetStop) as stop:
            llm.ask()
        raise stop.value
    assert Fraction(caught.value.consumed) == 2
