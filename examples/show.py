"""The records of steps as a table, and their spans as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue
from rich import box
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import otel_harn_steps
from otel_harn_steps import CompletedStep

STYLES = {"completed": "green", "failed": "red", "skipped": "yellow", "escalated": "magenta", "cancelled": "red"}
OUTCOMES = {
    "failed": "caller got the error",
    "skipped": "caller got the fallback",
    "escalated": "a person is asked",
}


def usd(amount: float) -> str:
    """Dollars to the millionth. What is less, but not nothing, does not look like nothing."""
    return "<0.000001" if 0 < amount < 0.000001 else f"{amount:.6f}"


def _table(title: str, *, show_footer: bool = False) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        show_footer=show_footer,
    )


def spend_table(records: Sequence[CompletedStep]) -> Table:
    """What each step spent itself, nested steps below the one they ran in."""
    table = _table("What each step spent itself", show_footer=True)
    own = {
        "Calls": [record.llm_calls for record in records],
        "Tokens\nin": [record.input_tokens for record in records],
        "\ncached": [record.cache_read_tokens for record in records],
        "\nout": [record.output_tokens for record in records],
    }
    cost = sum(record.cost_usd for record in records)
    table.add_column("Step", footer="total", no_wrap=True)
    table.add_column("Model", overflow="ellipsis", min_width=10)
    for heading, numbers in own.items():
        table.add_column(heading, footer=f"{sum(numbers):,}", justify="right", no_wrap=True)
    table.add_column("USD", footer=usd(cost), justify="right", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    for record in _as_nested(records):
        table.add_row(
            "  " * record.path.count("/") + record.name,
            record.model or "-",
            str(record.llm_calls),
            f"{record.input_tokens:,}",
            f"{record.cache_read_tokens:,}",
            f"{record.output_tokens:,}",
            usd(record.cost_usd),
            Text(record.status, STYLES[record.status]),
        )
    return table


def _as_nested(records: Iterable[CompletedStep]) -> list[CompletedStep]:
    """The records with each step before the ones nested in it, in the order in which they began."""
    began = {(record.trace_id, record.path): record.start_time for record in reversed(list(records))}

    def place(record: CompletedStep) -> list[int]:
        names = record.path.split("/")
        return [began[record.trace_id, "/".join(names[: depth + 1])] for depth in range(len(names))]

    return sorted(records, key=place)


def budget_table(records: Iterable[CompletedStep]) -> Table:
    """The budgets that did not hold what their steps wanted, and what came of it."""
    table = _table("Steps that ended at their budget")
    for heading in ("Boundary", "Outcome", "Breach"):
        table.add_column(heading, overflow="fold")
    for record in _as_nested(records):
        if record.error is not None:
            outcome = Text(OUTCOMES[record.status], STYLES[record.status])
            table.add_row(record.error_boundary or "fail", outcome, record.error)
    return table


def span_trees(spans: Iterable[ReadableSpan]) -> list[Tree]:
    """One tree for each trace: steps, and below them the calls that were billed to them."""
    children: defaultdict[int | None, list[ReadableSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        children[span.parent.span_id if span.parent else None].append(span)

    def grow(tree: Tree, span: ReadableSpan) -> Tree:
        for child in children[span.context.span_id]:
            grow(tree.add(_label(child)), child)
        return tree

    return [grow(Tree(_label(root)), root) for root in children[None]]


def _label(span: ReadableSpan) -> Text:
    facts = span.attributes or {}
    if "harn.step.status" in facts:
        status = str(facts["harn.step.status"])
        own = _number(facts["harn.step.cost_usd"])
        total = _number(facts.get("harn.step.total.cost_usd", own))
        spent = f"${usd(own)}" if own == total else f"${usd(own)}, with nested steps ${usd(total)}"
        return Text.assemble((span.name, "bold"), f"  {spent}  ", (status, STYLES[status]))
    call = f"{facts.get('gen_ai.operation.name')} {facts.get('gen_ai.request.model')}"
    cached = _number(facts.get("gen_ai.usage.cache_read.input_tokens"))
    tokens = f"{_number(facts.get('gen_ai.usage.input_tokens')):.0f} in" + (f" ({cached:.0f} cached)" if cached else "")
    if "gen_ai.usage.output_tokens" in facts:
        tokens += f", {_number(facts['gen_ai.usage.output_tokens']):.0f} out"
    cost = f"  ${usd(_number(facts['harn.call.cost_usd']))}" if "harn.call.cost_usd" in facts else ""
    return Text.assemble((call, "cyan"), f"  {tokens}{cost}", (_made_by(span), "dim"))


def _made_by(span: ReadableSpan) -> str:
    """A note where a client library makes spans by itself: they have the price, and no call has a second one."""
    scope = span.instrumentation_scope
    return "" if scope is None or scope.name == otel_harn_steps.__name__ else "  (client's span)"


def _number(value: AttributeValue | None) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
