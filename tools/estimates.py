"""Measures how far the estimates of budgets are off, over the recorded traffic, and writes that into the docs.

python tools/estimates.py           writes it
python tools/estimates.py --check   exits with 1 if it is not current
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from botocore.eventstream import EventStreamBuffer

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from otel_harn_steps._cost.estimate import generated, output_tokens, request_tokens  # noqa: E402 -- of this tree
from otel_harn_steps.testing import Bill  # noqa: E402
from otel_harn_steps.testing._answers import events_of  # noqa: E402
from tests.replay.arrivals import arrivals, first_beyond, shown_output  # noqa: E402
from tests.replay.bills import bill_of  # noqa: E402
from tests.replay.cases import Case, all_cases  # noqa: E402
from tests.replay.native import native_bill  # noqa: E402
from tests.replay.stops import LEAST, MOST, TOKENS  # noqa: E402

_BEGINS = "<!-- The {} is made by tools/estimates.py, of the recorded traffic. -->\n\n"
_ENDS = "\n\n<!-- The {} ends. -->"
_SOME_TOKENS = 20
"""Below that, a ratio says nothing: a stream of two tokens that are taken for three."""
_FAMILIES = {
    "google_genai": "google-genai",
    "google_vertex": "google-genai",
    "mistral": "mistralai",
    "bedrock": "botocore",
}
_SPREAD = "median | 5 % below | 5 % above"
_AWS_STREAM = b":event-type"
# Thoughts that the response shows are text like any other; those that it hides can only be counted by the provider.
_SHOWS_THOUGHTS = re.compile(
    rb'"(?:reasoning|reasoning_content|thinking)": ?"[^"]|"thought": ?true|"type": ?"(?:reasoning|summary)_text"'
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Estimate through actual tokens, of the calls of one client."""

    inputs: list[float]
    outputs: list[float]


def measured() -> dict[str, Measured]:
    """The ratios by client. Where the provider reported nothing, there is none."""
    found: dict[str, Measured] = defaultdict(lambda: Measured([], []))
    for case in all_cases().values():
        usage = usage_of(case)
        if usage is None:
            continue
        ratios = found[_FAMILIES.get(case.client, case.client)]
        if usage.input_tokens:
            ratios.inputs.append(request_tokens(case.request) / usage.input_tokens)
        hidden = 0 if _SHOWS_THOUGHTS.search(case.body) else usage.reasoning_tokens
        shown = usage.output_tokens - hidden
        if shown > 0:
            came = [each for each in map(generated, events(case)) if each.text or each.more]
            sizes, more = [each.size for each in came], sum(each.more for each in came)
            estimate = output_tokens(sum(sizes), len(sizes) if len(sizes) > 1 else 0, more)
            ratios.outputs.append(estimate / shown)
    return dict(sorted(found.items()))


def usage_of(case: Case) -> Bill | None:
    """What the provider reported. None where it reported nothing."""
    reported = case.expected_usage
    if case.status >= 400 or reported is None or case.endpoint == "count_tokens":
        return None
    if case.client in ("openai", "anthropic"):
        return bill_of(case)
    return bedrock_usage(reported) if case.client == "bedrock" else native_bill(case)


def bedrock_usage(reported: Mapping[str, Any]) -> Bill | None:
    """Usage in the form of Converse, or in Anthropic's, which leave out cached tokens; the other forms are left out."""
    ins = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    ins += ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    counts = [reported.get(name) or 0 for name in ins]
    output = reported.get("outputTokens") or reported.get("output_tokens") or 0
    return Bill(llm_calls=1, input_tokens=sum(counts), output_tokens=output) if any(counts) else None


def events(case: Case) -> Iterator[Any]:
    """The events of a stream, or the whole response, as their JSON says them."""
    if _AWS_STREAM in case.body:
        buffer = EventStreamBuffer()
        buffer.add_data(case.body)
        yield from buffer
        return
    if not case.stream:
        yield json.loads(case.body)
        return
    for event in events_of(case):
        for line in event.splitlines():
            data = line.removeprefix(b"data:").strip()
            if data.startswith(b"{"):
                yield json.loads(data)


def table() -> str:
    """The table, in Markdown."""
    found = measured()
    everything = Measured(
        [each for ratios in found.values() for each in ratios.inputs],
        [each for ratios in found.values() for each in ratios.outputs],
    )
    rows = [f"| `{client}` | {cells(ratios)} |" for client, ratios in found.items()]
    return "\n".join(
        (
            f"| Client | Input: calls | {_SPREAD} | Output: calls | {_SPREAD} |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            f"| all | {cells(everything)} |",
        )
    )


def cells(ratios: Measured) -> str:
    """The numbers of a row."""
    return " | ".join(cell for side in (ratios.inputs, ratios.outputs) for cell in (str(len(side)), *spread(side)))


def spread(ratios: list[float]) -> tuple[str, str, str]:
    """Median, 5th and 95th percentile."""
    if len(ratios) < 2:
        return ("", "", "")
    cuts = quantiles(ratios, n=20, method="inclusive")
    return f"{cuts[9]:.2f}", f"{cuts[0]:.2f}", f"{cuts[-1]:.2f}"


def figure() -> str:
    """How near to the truth streams are billed that a budget stops, in Markdown."""
    streams = events_of_all = counted = 0
    ratios: list[float] = []
    for case in all_cases().values():
        if not case.stream or case.status != 200 or case.in_stream_error:
            continue
        stops = [arrival for _, arrival in first_beyond(arrivals(case))]
        whole = shown_output(case)
        streams, events_of_all = streams + bool(stops), events_of_all + len(stops)
        counted += sum(arrival.counted is not None for arrival in stops)
        near = [(arrival.budgeted, (whole or 0) * arrival.share) for arrival in stops if arrival.counted is None]
        ratios += [budgeted / truth for budgeted, truth in near if truth >= _SOME_TOKENS]
    _, low, high = spread(ratios)
    lines = (
        f"The tests stop {streams} recorded streams at {events_of_all:,} events, each at which a budget can stop them:",
        "",
        f"- Where the provider had counted by then ({counted} events), its count is billed.",
        f"- Else the output is billed at {LEAST} to {MOST} times what the provider counts of it, give or take {TOKENS}",
        "  tokens. What it counts of it: of its count of the whole stream, the share of the text that had come.",
        f"- Once {_SOME_TOKENS} tokens had come, nine of ten bills were {low} to {high} times that.",
    )
    return "\n".join(lines)


def written(name: str, what: str, found: str) -> str:
    """The page with `found` in the place of what is made: a table or a figure."""
    text = (_ROOT / "docs" / name).read_text(encoding="utf-8")
    begins, ends = _BEGINS.format(what), _ENDS.format(what)
    before, _, rest = text.partition(begins)
    _, is_there, after = rest.partition(ends)
    if not is_there:
        raise LookupError(f"docs/{name} has lost the comments around its {what}")
    return before + begins + found + ends + after


def main() -> int:
    """Write the table and the figure, or check them."""
    stale = []
    for name, what, make in (("prices.md", "table", table), ("budgets.md", "figure", figure)):
        page, wanted = _ROOT / "docs" / name, written(name, what, make())
        if "--check" not in sys.argv[1:]:
            page.write_text(wanted, encoding="utf-8")
        elif wanted != page.read_text(encoding="utf-8"):
            stale.append(f"docs/{name}")
    if stale:
        print(f"not what the estimates are: {', '.join(stale)}; run: python tools/estimates.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
