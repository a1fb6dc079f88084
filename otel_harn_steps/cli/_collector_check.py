"""A configuration, tried: started in a real Collector, with a stand-in for the backend behind it, and sent a step.

Nothing leaves this machine, and nothing but a Collector is needed: what goes in and comes out is OTLP as JSON. Backends
that take gRPC are stood in for by a second Collector, which turns it into that.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any, Final, Literal

from otel_harn_steps._telemetry import names
from otel_harn_steps.cli._collector_files import configurations, settings_of
from otel_harn_steps.cli._collector_sample import COST_USD, spend, trace_with
from otel_harn_steps.cli._programs import Collector, NotInTime, fetch, wait_for
from otel_harn_steps.cli._stand_in import BACKEND, StandIn

_SECRET: Final = "no-secret"  # noqa: S105 -- what it says
_SECRETS: Final = ("HONEYCOMB_API_KEY", "INGEST_TOKEN", "INGEST_TOKEN_2")
_ARRIVES_WITHIN_S: Final = 20
_LOG_LINES: Final = 12
_MARGIN: Final = " " * 8


@dataclass(frozen=True, slots=True)
class _Expected:
    """What must come out of a configuration.

    Attributes:
        copies: how often each span arrives: at every backend that the configuration sends to.
        spend_on: where the dollars show as a metric: on the Collector's page, at the backend, or nowhere.
        is_without_prompts: whether a prompt on the call's span must not arrive.
    """

    copies: int = 1
    spend_on: Literal["page", "backend"] | None = None
    is_without_prompts: bool = False


EXPECTED: Final[Mapping[str, _Expected]] = {
    "gateway": _Expected(copies=2, spend_on="backend"),
    "gateway-shards": _Expected(spend_on="backend"),
    "honeycomb": _Expected(spend_on="backend", is_without_prompts=True),
    "local-jaeger": _Expected(),
    "redaction": _Expected(is_without_prompts=True),
    "step-metrics": _Expected(spend_on="page"),
    "tail-sampling": _Expected(spend_on="page"),
}

_Mark = Literal["ok", "WRONG", "note"]
_Findings = Iterator[tuple[_Mark, str]]


def check(name: str, programs: Sequence[Path]) -> int:
    """Try the configuration `name` with the first of `programs` that accepts it, and print what was found.

    Returns:
        1 if something is wrong, else 0.
    """
    path = configurations()[name]
    settings = {each: os.environ[each] for each in settings_of(path) if each in os.environ}
    settings |= dict.fromkeys(_SECRETS, _SECRET)
    program = _accepting(programs, path, settings)
    if program is None:
        return 1
    marks = set()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for mark, text in _try(program, path, settings, Path(folder), EXPECTED[name]):
                marks.add(mark)
                _say(mark, text)
        except (NotInTime, OSError) as error:
            marks.add("WRONG")
            _say("WRONG", _end(str(error)))
    return 1 if "WRONG" in marks else 0


def _say(mark: _Mark, text: str) -> None:
    print(f"{mark:7} {indent(text, _MARGIN).lstrip()}", flush=True)


def _accepting(programs: Sequence[Path], path: Path, settings: Mapping[str, str]) -> Path | None:
    """The first program whose `validate` says nothing. A Collector may lack components, or be too old."""
    refusals = []
    for program in programs:
        try:
            ran = subprocess.run(  # noqa: S603 -- what the user has, or names
                [program, "validate", f"--config={path}"],
                env={"PATH": os.environ["PATH"], **settings}, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            refusals.append(f"{program} cannot be run: {error}")
            continue
        if ran.returncode == 0:
            _say("ok", f"{program} accepts {path.name}")
            return program
        refusals.append(f"{program} does not accept {path.name}: {_end(ran.stderr or ran.stdout)}")
    for refusal in refusals:
        _say("WRONG", refusal)
    return None


def _end(log: str) -> str:
    """The end of what a Collector has said, without the lines in which nothing is wrong."""
    return "\n".join([line for line in log.strip().splitlines() if "\tinfo\t" not in line][-_LOG_LINES:])


def _try(program: Path, path: Path, settings: Mapping[str, str], folder: Path, expected: _Expected) -> _Findings:
    with ExitStack() as stack:
        stand_in = stack.enter_context(StandIn())
        (folder / "backend.yaml").write_text(BACKEND)
        backend = stack.enter_context(
            Collector(program, folder / "backend.yaml", folder / "backend", STAND_IN=stand_in.url)
        )
        around = {
            "BATCH_TIMEOUT": "200ms",
            "DECISION_WAIT_AFTER_ROOT": "1s",
            "HONEYCOMB_KEEP_PERCENT": "100",
            "TRACES_ENDPOINT": backend.grpc,
            "SHARD_0_ENDPOINT": backend.grpc,
            "SHARD_1_ENDPOINT": backend.grpc,
            "HONEYCOMB_ENDPOINT": backend.http,
        }
        # Its own ports are free ones, whatever the environment says.
        kept = {name: value for name, value in settings.items() if not re.search("_(ENDPOINT|PORT|DIR)$", name)}
        collector = stack.enter_context(Collector(program, path, folder / "tried", **(kept | around)))
        # Asked to end, a Collector tries for half a minute to deliver to a listener that is gone.
        stack.callback(collector.kill)
        yield "ok", "it starts, and is healthy"
        prompt = os.urandom(8).hex()
        sent = _sent(collector, "traces", trace_with(prompt), f"a step's span of {COST_USD} USD, and its call's")
        yield sent
        if sent[0] == "WRONG":
            return
        if expected.spend_on is not None:
            yield _sent(collector, "metrics", spend(), "the app's own metric of that spend")
        yield from _arrivals(collector, stand_in, prompt, expected)


def _sent(collector: Collector, signal: str, request: Mapping[str, Any], text: str) -> tuple[_Mark, str]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_SECRET}", "x-tenant": "check"}
    posted = urllib.request.Request(f"{collector.http}/v1/{signal}", json.dumps(request).encode(), headers)  # noqa: S310 -- ours
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(posted, timeout=10).close()
    except OSError as error:
        return "WRONG", f"it does not take {text}: {error}\n{_end(collector.log_text())}"
    return "ok", f"it takes {text}"


def _arrivals(collector: Collector, stand_in: StandIn, prompt: str, expected: _Expected) -> _Findings:
    def dollars() -> list[object]:
        spans = stand_in.spans()
        return sorted([span.get(names.COST_USD) or span.get(names.CALL_COST_USD) for span in spans], key=str)

    times = "" if expected.copies == 1 else f", {expected.copies} times: once at each backend"
    text = f"both arrive, with their dollars{times}"
    arrival = _seen(collector, text, lambda: dollars() == [COST_USD] * 2 * expected.copies)
    yield arrival
    if expected.spend_on == "page":
        page = collector.metrics_url
        yield _seen(collector, "its metrics page has that spend", lambda: _on_page(fetch(page)) == COST_USD)
    elif expected.spend_on == "backend":
        yield _seen(collector, "the metric arrives", lambda: names.METRIC_COST[0] in stand_in.metrics())
    if arrival[0] == "WRONG":
        return
    if prompt not in stand_in.text():
        yield "ok", "the prompt on the call's span does not arrive"
    elif expected.is_without_prompts:
        yield "WRONG", "the prompt on the call's span arrives"
    else:
        yield "note", "the prompt on the call's span arrives too: the configuration `redaction` takes it out"


def _seen(collector: Collector, text: str, condition: Callable[[], bool]) -> tuple[_Mark, str]:
    try:
        wait_for(text, condition, _ARRIVES_WITHIN_S)
    except NotInTime:
        return (
            "WRONG",
            f"not seen within {_ARRIVES_WITHIN_S} s: {text}; its log ends with\n{_end(collector.log_text())}",
        )
    return "ok", text


def _on_page(page: str | None) -> float:
    return sum(map(float, re.findall(r"^harn_step_cost_total(?:\{.*\})? (\S+)$", page or "", re.MULTILINE)))
