"""Labels: from `labels(...)` and from baggage, on rows, records, spans and metrics."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import TracerProvider

import otel_harn_steps as harn
from otel_harn_steps import drain_completed_steps, labels, record_llm_usage, step
from otel_harn_steps._guard.finalisers import finish_freed
from tests.carrying import carrying
from tests.instrumented import Spans
from tests.provider import PRICES, Provider
from tests.steps.sinks import Ledger
from tests.steps.spending import spend


@pytest.fixture
def tracer_provider(spans: Spans) -> TracerProvider:
    return spans.provider


def instrument(spans: Spans, ledger: Ledger, **options: Any) -> None:
    harn.instrument(prices=PRICES, sinks=[ledger], tracer_provider=spans.provider, **options)


def labels_of(span: Any) -> dict[str, object]:
    return {name: value for name, value in span.attributes.items() if name.startswith("harn.label.")}


# -- baggage ----------------------------------------------------------------------------------------------------------


def test_keys_of_baggage_that_are_allowed_are_labels_and_no_others(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant", "user"])
    with carrying(tenant="acme", session="secret"), step("s"):
        llm.ask()
    (row,) = ledger.of("settled")
    (record,) = drain_completed_steps()
    assert row.labels == record.labels == {"tenant": "acme"}


def test_labels_go_before_baggage_wherever_they_were_put(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant", "user"])
    with step("s"):
        with carrying(tenant="acme", user="ada"), labels(tenant="globex"):
            spend()
        with labels(tenant="globex", feature="chat"), carrying(tenant="acme", user="bob"):
            spend()
    assert [dict(row.labels) for row in ledger.of("settled")] == [
        {"tenant": "globex", "user": "ada"},
        {"tenant": "globex", "user": "bob", "feature": "chat"},
    ]


def test_baggage_that_changes_within_labels_is_seen(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"])
    with step("s"), carrying(tenant="acme"), labels(feature="chat"):
        with carrying(tenant="globex"):
            spend()
        spend()
    assert [row.labels["tenant"] for row in ledger.of("settled")] == ["globex", "acme"]


@pytest.mark.parametrize("value", ["", "Ä ö,;=\n", "x" * 4000, 7, 2.5, True])
def test_what_baggage_can_carry_is_a_label_as_text(value: object, llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"])
    with carrying(tenant=value), step("s"):
        spend()
    assert [row.labels for row in ledger.of("settled")] == [{"tenant": str(value)}]


@pytest.mark.parametrize("value", [None, b"acme", ["acme"], object()])
def test_what_is_no_text_nor_number_is_no_label(value: object, llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"])
    with carrying(tenant=value), step("s"):
        spend()
    assert [row.labels for row in ledger.of("settled")] == [{}]


def test_without_the_setting_baggage_is_nobodys(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"])
    instrument(spans, ledger)
    with carrying(tenant="acme"), step("s"):
        spend()
    assert [row.labels for row in ledger.of("settled")] == [{}]


# -- tasks, threads, forks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["labels", "baggage"])
def test_tasks_and_threads_have_the_labels_of_those_who_started_them(
    how: str, llm: Provider, spans: Spans, ledger: Ledger
) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"], threads=True)
    around = labels if how == "labels" else carrying

    async def tasks() -> None:
        with around(tenant="acme"):
            task = asyncio.create_task(llm.ask_async())
        with around(tenant="globex"):
            await asyncio.gather(task, asyncio.to_thread(llm.ask))

    with step("s"):
        asyncio.run(tasks())
        with around(tenant="initech"):
            thread = Thread(target=llm.ask)
            thread.start()
        with around(tenant="hooli"), ThreadPoolExecutor(1) as pool:
            pool.submit(llm.ask).result()
        thread.join()
    assert Counter(row.labels["tenant"] for row in ledger.of("settled")) == Counter(
        ["acme", "globex", "initech", "hooli"]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_keeps_the_labels(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["tenant"])
    with carrying(tenant="acme"), labels(user="ada"), step("s"):
        pid = os.fork()
        if not pid:
            spend()
            os._exit(7 if ledger.of("settled")[-1].labels == {"tenant": "acme", "user": "ada"} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


# -- spans ----------------------------------------------------------------------------------------------------------------


def test_spans_of_steps_and_calls_have_their_labels(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger, baggage_labels=["user"])
    with carrying(user="ada"), labels(tenant="acme"), step("s"), labels(feature="chat"):
        llm.ask()
        list(llm.ask(stream=True))
    of_step = {"harn.label.tenant": "acme", "harn.label.user": "ada"}
    assert [labels_of(span) for span in spans.finished("step")] == [of_step]
    assert [labels_of(span) for span in spans.finished("chat")] == [of_step | {"harn.label.feature": "chat"}] * 2


def test_without_labels_spans_have_none(llm: Provider, spans: Spans, ledger: Ledger) -> None:
    instrument(spans, ledger)
    with step("s"):
        llm.ask()
    assert [labels_of(span) for span in spans.finished()] == [{}, {}]


# -- metrics --------------------------------------------------------------------------------------------------------------


class Metrics:
    """What a metrics SDK was given, by label."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def by(self, metric: str, label: str = "tenant") -> dict[object, float]:
        """The sums of a metric by the value of a label; None: the points without it."""
        data = self.reader.get_metrics_data()
        sums: dict[object, float] = {}
        for each in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            for point in each.data.data_points if each.name == metric else ():
                value = (point.attributes or {}).get(f"harn.label.{label}")
                sums[value] = sums.get(value, 0) + getattr(point, "value", getattr(point, "count", 0))
        return sums


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_metrics_have_the_labels_that_are_declared_for_them(
    llm: Provider, spans: Spans, ledger: Ledger, metrics: Metrics
) -> None:
    instrument(spans, ledger, meter_provider=metrics.provider, metric_labels=["tenant"])
    for tenant, calls in (("acme", 1), ("globex", 2)):
        with labels(tenant=tenant, user="ada"), step("s"):
            for _ in range(calls):
                llm.ask()
    with step("s"):
        llm.ask()
    by_calls: dict[object, float] = {"acme": 1, "globex": 2, None: 1}
    assert metrics.by("harn.calls") == metrics.by("harn.step.llm_calls") == by_calls
    for metric, each in {"harn.call.cost": 65, "harn.call.tokens": 15e6, "harn.step.cost": 65}.items():
        assert metrics.by(metric) == {tenant: pytest.approx(calls * each / 1e6) for tenant, calls in by_calls.items()}
    assert metrics.by("harn.step.duration") == metrics.by("harn.step.run.cost") == {"acme": 1, "globex": 1, None: 1}
    assert set(metrics.by("harn.calls", "user")) == {None}


def test_values_that_are_too_many_are_other_which_is_said_once(
    llm: Provider, spans: Spans, ledger: Ledger, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {"metric_labels": ["tenant", "user"], "metric_label_values": 2}
    instrument(spans, ledger, meter_provider=metrics.provider, **given)
    with step("s"):
        for number in range(10):
            with labels(tenant=f"tenant {number}", user="%s"):
                spend()
    assert metrics.by("harn.calls") == {"tenant 0": 1, "tenant 1": 1, "other": 8}
    assert metrics.by("harn.calls", "user") == {"%s": 10}
    assert len({row.labels["tenant"] for row in ledger.of("settled")}) == 10
    (told,) = [record.getMessage() for record in caplog.records if "values" in record.getMessage()]
    assert told == (
        "label 'tenant' has more than 2 values: 'tenant 2' and all further ones are 'other' in metrics; more are had by "
        "instrument(metric_label_values=...)"
    )


def test_a_call_that_comes_late_is_counted_with_its_steps_labels(
    llm: Provider, spans: Spans, ledger: Ledger, metrics: Metrics
) -> None:
    instrument(spans, ledger, meter_provider=metrics.provider, metric_labels=["tenant"])
    with labels(tenant="acme"), step("s"):
        stream = llm.ask(stream=True)
    list(stream)
    assert metrics.by("harn.step.cost") == metrics.by("harn.call.cost") == {"acme": pytest.approx(65e-6)}


texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["acme", "", "x" * 5000])
calls = st.lists(st.tuples(st.none() | texts, st.integers(0, 10**6), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=calls, most=st.integers(1, 4))
def test_the_sum_over_all_values_of_a_label_is_the_ledger(
    calls: list[tuple[str | None, int, bool]], most: int, llm: Provider, spans: Spans
) -> None:
    gc.collect()  # streams of earlier tests are settled now, and not meanwhile
    finish_freed()
    ledger, metrics = Ledger(), Metrics()
    given: dict[str, Any] = {"metric_labels": ["tenant"], "metric_label_values": most}
    instrument(spans, ledger, meter_provider=metrics.provider, **given)
    for tenant, microusd, in_step in calls:
        with labels(**({} if tenant is None else {"tenant": tenant})), step("s") if in_step else harn.run("r"):
            record_llm_usage("m", 3, 2, microusd / 1e6)
    rows = ledger.of("settled")
    billed = sum(row.cost_picousd or 0 for row in rows)
    assert len(rows) == len(calls)
    assert sum(metrics.by("harn.calls").values()) == len(rows)
    assert sum(metrics.by("harn.call.cost").values()) == pytest.approx(billed / 1e12)
    of_steps = sum(row.cost_picousd or 0 for row in rows if row.step_id is not None)
    assert sum(metrics.by("harn.step.cost").values()) == pytest.approx(of_steps / 1e12)
    values = set(metrics.by("harn.calls")) - {None}
    assert len(values - {"other"}) <= most
    exact = Counter(str(row.labels["tenant"]) for row in rows if "tenant" in row.labels)
    assert {name: count for name, count in metrics.by("harn.calls").items() if name not in (None, "other")}.items() <= (
        dict(exact).items()
    )


# -- what is wrong ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["baggage_labels", "metric_labels"])
@pytest.mark.parametrize("value", ["tenant", None, 7, {"tenant": 1}, ["tenant", 7], [""], [None]])
def test_names_of_labels_are_a_list_of_texts(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must (be a list|hold names) of .*labels such as"):
        harn.instrument(**{name: value})


@pytest.mark.parametrize("value", [0, -1, "10", None, True, 2.5])
def test_the_number_of_values_is_a_whole_number_above_0(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="metric_label_values must be a whole number above 0, not "):
        harn.instrument(metric_label_values=value)


@pytest.mark.parametrize("value", [None, 7, b"acme", ["acme"]])
def test_a_label_is_a_text(value: Any) -> None:
    with pytest.raises(TypeError, match="label tenant must be a string, not "), labels(tenant=value):
        pytest.fail("the block was entered")
