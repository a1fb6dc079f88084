"""What happens before a budget is spent, and what raises it again."""

from __future__ import annotations

from typing import Any

import pytest

import otel_harn_steps as harn
from otel_harn_steps import Budget, StepBudgetExceeded, step
from tests.instrumented import Spans
from tests.provider import MODEL, Provider


@pytest.fixture
def tracer_provider(spans: Spans) -> Any:
    return spans.provider


def test_a_share_of_a_budget_is_told_once_to_the_hooks_that_are_for_the_step(llm: Provider) -> None:
    told: list[tuple[str, float]] = []

    @harn.on_budget_threshold("plan*")
    def tell(active: Any, share: float) -> None:
        told.append((active.definition.name, share))
        raise RuntimeError("a hook's fault is its own")

    for name in ("plan", "other"):
        with step(name, max_tokens=100, at={0.5: "notify", 0.8: "notify"}):
            for _ in range(6):
                llm.ask(10, 5)
    assert told == [("plan", 0.5), ("plan", 0.8)]
    harn.remove_hook(tell)
    with step("plan", max_tokens=20, at={0.5: "notify"}):
        llm.ask(10, 5)
    assert len(told) == 2
    assert [record.budget_events for record in harn.drain_completed_steps()] == [
        ("notified:0.5", "notified:0.8"),
        ("notified:0.5", "notified:0.8"),
        ("notified:0.5",),
    ]


def test_calls_that_name_no_model_are_downgraded_and_the_others_are_not(llm: Provider, spans: Spans) -> None:
    messages = llm.request()["messages"]
    with step("s", model="model-of-ours", max_tokens=100, at={0.1: "downgrade:cheaper"}):
        llm.client.chat.completions.create(messages=messages)  # type: ignore[call-overload]  # the step has a model
        llm.client.chat.completions.create(messages=messages)  # type: ignore[call-overload]  # as above
        llm.client.chat.completions.create(model=MODEL, messages=messages)
    assert [received.json()["model"] for received in llm.exchange.requests] == [MODEL, "cheaper", MODEL]
    (span,) = [each for each in spans.finished() if each.name == "step s"]
    assert span.attributes is not None
    assert span.attributes["harn.step.budget.events"] == ("downgraded:cheaper",)


def test_what_is_left_can_be_asked_and_told(llm: Provider) -> None:
    with step("outer", max_usd=1, scope="tree"), step("s", max_tokens=100, max_calls=3, at={0.1: "tell"}) as active:
        assert not active.is_told
        llm.ask(10, 5)
        left = active.remaining()
        assert (left.tokens, left.calls, left.seconds) == (85, 2, None)
        assert left.usd == pytest.approx(1 - 65e-6)
        assert active.is_told
        assert str(left) == "Budget: $0.9999 and 85 tokens and 2 calls left."
    with step("free") as active:
        assert active.remaining() == harn.Remaining()


def test_a_raised_budget_lets_an_exhausted_step_go_on(llm: Provider) -> None:
    with step("s", max_tokens=20) as active:
        llm.ask(10, 5)
        with pytest.raises(StepBudgetExceeded):
            llm.ask(10, 5)
        active.raise_budget(max_tokens=100)
        llm.ask(10, 5)
    (record,) = harn.drain_completed_steps()
    assert (record.status, record.llm_calls, record.breach) == ("completed", 3, None)
    assert (record.max_tokens, record.budget_events) == (100, ("raised:max_tokens=100",))


def test_a_step_whose_call_has_cost_too_much_goes_on_only_when_a_call_may_cost_as_much(llm: Provider) -> None:
    with step("s", max_tokens=20, max_cost_per_call=0.00005) as active:
        with pytest.raises(StepBudgetExceeded):
            llm.ask(10, 5)  # $0.000065
        active.raise_budget(max_tokens=1_000)
        with pytest.raises(StepBudgetExceeded):
            llm.ask(10, 5)
        active.raise_budget(max_cost_per_call=0.000065)
        llm.ask(10, 5)
    assert llm.handed_out.calls == 2


@pytest.mark.parametrize("limits", [{"max_tokens": 10}, {"max_usd": 3}, {"max_tokens": None}])
def test_a_budget_can_only_be_raised(limits: dict[str, Any]) -> None:
    with step("s", max_tokens=20) as active:
        with pytest.raises(ValueError, match="can only be raised"):
            active.raise_budget(**limits)


def test_a_hook_at_the_start_may_change_the_model_and_the_budget_or_refuse(llm: Provider) -> None:
    @harn.on_step_start
    def change(active: harn.ActiveStep) -> None:
        if active.definition.name == "refused":
            active.refuse_calls("not today")
        else:
            active.use_model("another")
            active.raise_budget(max_tokens=1_000)

    ended: list[str] = []
    harn.on_step_end(lambda record: ended.append(record.name))
    with step("s", max_tokens=20):
        for _ in range(3):
            llm.client.chat.completions.create(messages=llm.request()["messages"])  # type: ignore[call-overload]
    assert [received.json()["model"] for received in llm.exchange.requests] == ["another"] * 3
    with pytest.raises(StepBudgetExceeded, match="not today"), step("refused"):
        llm.ask()
    assert llm.handed_out.calls == 3
    assert ended == ["s", "refused"]


@pytest.mark.parametrize(
    ("at", "error", "says"),
    [
        ({1.5: "notify"}, ValueError, "between 0 and 1, as 0.8, not 1.5"),
        ({"x": "notify"}, ValueError, "between 0 and 1"),
        (
            {0.5: "notfy"},
            ValueError,
            "'notify', \"downgrade:MODEL\" or \"tell\", not 'notfy'".replace("'notify'", '"notify"'),
        ),
        ({0.5: 3}, TypeError, "not 3"),
        ([0.5], TypeError, "mapping of shares to actions"),
    ],
)
def test_a_wrong_threshold_is_told(at: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        Budget(max_usd=1, at=at)
    assert says in str(caught.value)


def test_the_keys_of_a_table_may_be_text() -> None:
    assert [each.share for each in Budget(at={"0.9": "tell", "0.5": "notify"}).thresholds] == [0.5, 0.9]


def test_a_budget_that_was_raised_is_not_told_before_it_is_spent_so_far_again(llm: Provider) -> None:
    with step("s", max_calls=2, at={0.5: "tell"}) as active:
        llm.ask()
        assert active.is_told
        active.raise_budget(max_calls=4)
        assert not active.is_told
        llm.ask()
        assert active.is_told


def test_a_budget_that_looks_on_changes_no_model_and_no_prompt(llm: Provider) -> None:
    with step("s", max_calls=2, at={0.1: "downgrade:cheap", 0.2: "tell"}, mode="shadow") as active:
        llm.ask()
        assert (active.default_model, active.is_told) == (None, False)
    assert harn.drain_completed_steps()[-1].budget_events == ("would have downgraded:cheap", "would have told:0.2")
