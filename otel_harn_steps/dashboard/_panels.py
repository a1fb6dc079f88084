"""The twenty panels of step spend: what each shows, and what it asks. All dashboards are made of them."""

from __future__ import annotations

from typing import Any

from otel_harn_steps._telemetry import names
from otel_harn_steps.dashboard._languages import (
    BREACHES,
    BUDGET_USED,
    CACHE_READ,
    CACHE_SAVINGS,
    CALL_COST,
    CALLS,
    CERTAINTY,
    COST,
    DURATION,
    ENDED_CALLS,
    INPUT,
    LABELLED_TENANT,
    MODEL,
    OUTPUT,
    REASONING,
    RUN_COST,
    RUNS,
    STATUS,
    STEP,
    TENANT,
    UNMETERED,
    UNPRICED,
    UNSEEN,
    as_label,
)
from otel_harn_steps.dashboard._panel import COUNT, DAY_S, Panel, Series, of, spans_query

TITLE = "Step spend"
DESCRIPTION = "What the steps of agent apps spend, waste and breach. Made by otel_harn_steps."

_WASTED = f'{STATUS}!="completed"'
_NOT_THE_PROVIDERS = f'{CERTAINTY}=~"estimated|unknown"'
_LABELLED = f'{LABELLED_TENANT}!=""'
_SPEND = of("SUM", names.COST_USD)
_NOT_COMPLETED = {"column": names.STATUS, "op": "!=", "value": "completed"}
_BREACHED = {"column": names.BUDGET_EXCEEDED, "op": "=", "value": True}
# The smallest dollar amount and the smallest count are both above it.
_ANY = 1e-12
_ANY_IS_ORANGE, _ANY_IS_RED = ((0, "green"), (_ANY, "orange")), ((0, "green"), (_ANY, "red"))


def _having(column: str) -> dict[str, Any]:
    return {"column": column, "op": "exists"}


PANELS = (
    Panel(
        title="Spend",
        description="US dollars that steps spent in the time shown.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(lambda ask: ask.total(COST)),),
        honeycomb=spans_query(_SPEND),
    ),
    Panel(
        title="Projected spend per 30 days",
        description="30 days of what was spent in the time shown. In Honeycomb, of the last 7 days.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(lambda ask: f"{ask.total(COST)} / {ask.range_s} * {30 * DAY_S}"),),
        honeycomb=spans_query(
            of("SUM", "projected_usd"),
            time_range=7 * DAY_S,
            calculated_fields=[{"name": "projected_usd", "expression": f"MUL(${names.COST_USD}, DIV(30, 7))"}],
        ),
    ),
    Panel(
        title="Wasted spend",
        description="Spent by runs that did not complete: failed, skipped, escalated, cancelled.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        thresholds=_ANY_IS_ORANGE,
        series=(Series(lambda ask: f"{ask.total(COST, _WASTED)} or vector(0)"),),
        honeycomb=spans_query(_SPEND, by=(names.STATUS,), where=(_NOT_COMPLETED,)),
    ),
    Panel(
        title="Budget breaches",
        description="Runs that crossed their budget. The model filter does not apply.",
        kind="stat",
        unit="short",
        width=6,
        height=4,
        thresholds=_ANY_IS_RED,
        series=(Series(lambda ask: f"{ask.total(BREACHES)} or vector(0)"),),
        honeycomb=spans_query(COUNT, by=(names.STEP_NAME,), where=(_BREACHED,)),
    ),
    Panel(
        title="Cache savings",
        description="US dollars saved by reading input from caches, where prices are known. Not counted from spans.",
        kind="stat",
        unit="currencyUSD",
        width=6,
        height=4,
        series=(Series(lambda ask: f"{ask.total(CACHE_SAVINGS)} or vector(0)"),),
        honeycomb=spans_query(of("SUM", names.CALL_CACHE_SAVINGS_USD), spans=_having(names.CALL_CACHE_SAVINGS_USD)),
    ),
    Panel(
        title="Calls without a price",
        description="Their tokens are counted, their dollars are not.",
        kind="stat",
        unit="short",
        width=6,
        height=4,
        thresholds=_ANY_IS_ORANGE,
        series=(Series(lambda ask: f"{ask.total(UNPRICED)} or vector(0)"),),
        honeycomb=spans_query(of("SUM", names.UNPRICED_CALLS), by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Calls without usage",
        description="The provider did not report what they used, or not all of it.",
        kind="stat",
        unit="short",
        width=6,
        height=4,
        thresholds=_ANY_IS_ORANGE,
        series=(Series(lambda ask: f"{ask.total(UNMETERED)} or vector(0)"),),
        honeycomb=spans_query(of("SUM", names.UNMETERED_CALLS), by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Unseen calls",
        description="Requests to models that no patched client made: in no other number, and in no step.",
        kind="stat",
        unit="short",
        width=6,
        height=4,
        thresholds=_ANY_IS_RED,
        series=(Series(lambda ask: f"{ask.total(UNSEEN)} or vector(0)"),),
        honeycomb=None,
    ),
    Panel(
        title="Spend over time by step",
        description="US dollars in each interval, by the step that spent them. Nested steps count for themselves.",
        kind="bars",
        unit="currencyUSD",
        width=16,
        height=8,
        min_interval="1m",
        series=(Series(lambda ask: ask.each(COST, by=(STEP,)), f"{{{{{STEP}}}}}"),),
        honeycomb=spans_query(_SPEND, by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Spend by model",
        description="US dollars by the model that answered. Metrics made of spans know only a step's last model.",
        kind="bar_gauge",
        unit="currencyUSD",
        width=8,
        height=8,
        series=(Series(lambda ask: f"sort_desc({ask.total(COST, by=(MODEL,))})", f"{{{{{MODEL}}}}}"),),
        honeycomb=spans_query(_SPEND, COUNT, by=(names.MODEL,)),
    ),
    Panel(
        title="Steps",
        description="What each step spent, how often it ran, and both divided. The model filter does not apply.",
        kind="table",
        unit="short",
        width=24,
        height=8,
        series=(
            Series(lambda ask: ask.total(f"{RUN_COST}_sum", by=(STEP,)), "USD"),
            Series(lambda ask: ask.total(RUNS, by=(STEP,)), "Runs"),
            Series(
                lambda ask: f"{ask.total(f'{RUN_COST}_sum', by=(STEP,))} / {ask.total(RUNS, by=(STEP,))}", "USD per run"
            ),
            Series(lambda ask: f"{ask.total(CALLS, by=(STEP,))} / {ask.total(RUNS, by=(STEP,))}", "Calls per run"),
        ),
        honeycomb=spans_query(
            _SPEND, COUNT, of("AVG", names.COST_USD), of("AVG", names.LLM_CALLS), by=(names.STEP_NAME,)
        ),
    ),
    Panel(
        title="Cost of one run, p50 and p95",
        description="US dollars that one run of a step spends itself, estimated from buckets.",
        kind="lines",
        unit="currencyUSD",
        width=12,
        height=8,
        min_interval="5m",
        series=(
            Series(lambda ask: ask.quantile(0.95, RUN_COST), f"p95 {{{{{STEP}}}}}"),
            Series(lambda ask: ask.quantile(0.5, RUN_COST), f"p50 {{{{{STEP}}}}}"),
        ),
        honeycomb=spans_query(
            of("P95", names.COST_USD),
            of("P50", names.COST_USD),
            of("HEATMAP", names.COST_USD),
            by=(names.STEP_NAME,),
        ),
    ),
    Panel(
        title="Tokens in and out",
        description="Tokens in each interval. Cached ones are part of the input, reasoning is part of the output.",
        kind="bars",
        unit="short",
        width=12,
        height=8,
        min_interval="1m",
        series=(Series(lambda ask: ask.each(INPUT), "input"), Series(lambda ask: ask.each(OUTPUT), "output")),
        honeycomb=spans_query(of("SUM", names.INPUT_TOKENS), of("SUM", names.OUTPUT_TOKENS)),
    ),
    Panel(
        title="Outcomes that need a look",
        description="Share of a step's runs that did not complete, by how they ended.",
        kind="lines",
        unit="percentunit",
        width=12,
        height=8,
        min_interval="5m",
        thresholds=((0, "green"), (0.05, "orange"), (0.2, "red")),
        series=(
            Series(
                lambda ask: (
                    f"{ask.each(RUNS, _WASTED, by=(STEP, STATUS))}"
                    f" / on ({STEP}) group_left () {ask.each(RUNS, by=(STEP,))}"
                ),
                f"{{{{{STEP}}}}} {{{{{STATUS}}}}}",
            ),
        ),
        honeycomb=spans_query(COUNT, by=(names.STEP_NAME, names.STATUS), where=(_NOT_COMPLETED,)),
    ),
    Panel(
        title="Duration of one run, p95",
        description="How long runs of a step take, estimated from buckets.",
        kind="lines",
        unit="s",
        width=12,
        height=8,
        min_interval="5m",
        series=(Series(lambda ask: ask.quantile(0.95, DURATION), f"{{{{{STEP}}}}}"),),
        honeycomb=spans_query(of("P95", "duration_ms"), of("HEATMAP", "duration_ms"), by=(names.STEP_NAME,)),
    ),
    Panel(
        title="Live spend a minute",
        description="US dollars a minute, counted as each call ends: also of steps that still run.",
        kind="lines",
        unit="currencyUSD",
        width=12,
        height=8,
        min_interval="1m",
        series=(Series(lambda ask: f"{ask.each(CALL_COST, by=(STEP,))} / ({ask.minutes})", f"{{{{{STEP}}}}}"),),
        honeycomb=spans_query(
            of("SUM", names.CALL_COST_USD), by=(names.STEP_NAME,), spans=_having(names.CALL_COST_USD), granularity=60
        ),
    ),
    Panel(
        title="Budget headroom",
        description="Share of its fullest limit that 95 of 100 runs of a step leave. Below 0: crossed. From buckets.",
        kind="lines",
        unit="percentunit",
        width=12,
        height=8,
        min_interval="5m",
        thresholds=((-10, "red"), (0.1, "orange"), (0.25, "green")),
        series=(Series(lambda ask: f"1 - {ask.quantile(0.95, BUDGET_USED)}", f"{{{{{STEP}}}}}"),),
        honeycomb=None,
    ),
    Panel(
        title="Cached and reasoning tokens",
        description="Parts of the tokens in and out, in each interval. A part that is 0 has no line.",
        kind="lines",
        unit="short",
        width=12,
        height=8,
        min_interval="1m",
        series=(
            Series(lambda ask: ask.each(CACHE_READ), "cached input"),
            Series(lambda ask: ask.each(REASONING), "reasoning"),
        ),
        honeycomb=spans_query(of("SUM", names.CACHE_READ_TOKENS), of("SUM", names.REASONING_TOKENS)),
    ),
    Panel(
        title="Estimates' share",
        description="Share of calls whose numbers are not the provider's own, but estimated for a budget or unknown.",
        kind="lines",
        unit="percentunit",
        width=12,
        height=8,
        min_interval="5m",
        thresholds=((0, "green"), (0.01, "orange"), (0.1, "red")),
        series=(
            Series(
                lambda ask: (
                    f"{ask.each(ENDED_CALLS, _NOT_THE_PROVIDERS, by=(CERTAINTY,))}"
                    f" / on () group_left () {ask.each(ENDED_CALLS)}"
                ),
                f"{{{{{CERTAINTY}}}}}",
            ),
        ),
        honeycomb=None,
    ),
    Panel(
        title="Spend by tenant",
        description="US dollars by the resource attribute tenant.id, and by the label tenant where metrics have it.",
        kind="bar_gauge",
        unit="currencyUSD",
        width=24,
        height=7,
        series=(
            Series(lambda ask: f"sort_desc({ask.total(COST, by=(as_label(TENANT),))})", f"{{{{{as_label(TENANT)}}}}}"),
            Series(
                lambda ask: f"sort_desc({ask.total(COST, _LABELLED, by=(LABELLED_TENANT,))})",
                f"label {{{{{LABELLED_TENANT}}}}}",
            ),
        ),
        honeycomb=spans_query(_SPEND, COUNT, by=(TENANT,)),
    ),
)
