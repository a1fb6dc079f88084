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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any, Final, Literal

from otel_harn_steps._telemetry import names
from otel_harn_steps.cli._collector_corpus import Corpus, content_names
from otel_harn_steps.cli._collector_files import settings_of
from otel_harn_steps.cli._collector_sample import COST_USD, spend, trace_with
from otel_harn_steps.cli._programs import Collector, NotInTime, fetch, wait_for
from otel_harn_steps.cli._stand_in import BACKEND, StandIn

_SECRET: Final = "no-secret"  # noqa: S105 -- what it says
_SECRETS: Final = ("HONEYCOMB_API_KEY", "INGEST_TOKEN", "INGEST_TOKEN_2")
_ARRIVES_WITHIN_S: Final = 20
_TAKES_WITHIN_S: Final = 60
_NO_SUCH_SIGNAL: Final = 404  # a configuration without a pipeline for it
_LOG_LINES: Final = 12
_PLACES: Final = 20
_MARGIN: Final = " " * 8


@dataclass(frozen=True, slots=True)
class _Expected:
    """What must come out of a configuration.

    Attributes:
        copies: how often each span arrives: at every backend that the configuration sends to.
        spend_on: where the dollars show as a metric: on the Collector's page, at the backend, or nowhere.
        is_without_prompts: whether no prompt and no secret may arrive, in whatever place it is sent.
    """

    copies: int = 1
    spend_on: Literal["page", "backend"] | None = None
    is_without_prompts: bool = False


EXPECTED: Final[Mapping[str, _Expected]] = {
    "gateway": _Expected(copies=2, spend_on="backend"),
    "gateway-shards": _Expected(spend_on="backend"),
    "honeycomb": _Expected(spend_on="backend", is_without_prompts=True),
    "local-jaeger": _Expected(),
    "mlflow": _Expected(),
    "redaction": _Expected(spend_on="backend", is_without_prompts=True),
    "step-metrics": _Expected(spend_on="page"),
    "tail-sampling": _Expected(spend_on="page"),
}

_Mark = Literal["ok", "WRONG", "note"]
_Findings = Iterator[tuple[_Mark, str]]


def check(path: Path, name: str, programs: Sequence[Path]) -> int:
    """Try the configuration in `path` with the first of `programs` that accepts it, and print what was found.

    Args:
        path: its file.
        name: the configuration of `EXPECTED` that it is, or was before it was edited.
        programs: Collectors.

    Returns:
        1 if something is wrong, else 0.
    """
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
            "MLFLOW_ENDPOINT": backend.http,
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
            sent = _sent(collector, "metrics", spend(), "the app's own metric of that spend")
            yield sent
            if sent[0] == "note":
                expected = replace(expected, spend_on=None)
        yield from _arrivals(collector, stand_in, prompt, expected)


def _sent(collector: Collector, signal: str, request: Mapping[str, Any], text: str) -> tuple[_Mark, str]:
    try:
        _post(collector, signal, request)
    except OSError as error:
        if signal != "traces" and isinstance(error, urllib.error.HTTPError) and error.code == _NO_SUCH_SIGNAL:
            return "note", f"it takes no {signal}"
        return "WRONG", f"it does not take {text}: {error}\n{_end(collector.log_text())}"
    return "ok", f"it takes {text}"


def _post(collector: Collector, signal: str, request: Mapping[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_SECRET}", "x-tenant": "check"}
    posted = urllib.request.Request(f"{collector.http}/v1/{signal}", json.dumps(request).encode(), headers)  # noqa: S310 -- ours
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(posted, timeout=_TAKES_WITHIN_S).close()


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
    if expected.is_without_prompts:
        yield from _leaks(collector, stand_in)
    elif prompt in stand_in.text():
        yield "note", "the prompt on the call's span arrives too: the configuration `redaction` takes it out"


def _leaks(collector: Collector, stand_in: StandIn) -> _Findings:
    """Send prompts and secrets in every place, and say which of them arrive."""
    corpus, taken = Corpus(), []
    for signal, make in (("traces", corpus.traces), ("logs", corpus.logs), ("metrics", corpus.metrics)):
        before = set(corpus.prompts), set(corpus.secrets)
        sent = _sent(collector, signal, make(), f"{signal} with prompts and secrets")
        if sent[0] == "WRONG":
            yield sent
            return
        if sent[0] == "ok":
            taken.append(signal)
        else:
            corpus.forget(*before)

    def has_all() -> bool:
        text = stand_in.text()
        return all(corpus.arrived[signal] in text for signal in taken) and corpus.span_ids <= stand_in.span_ids()

    try:
        wait_for("prompts and secrets", has_all, _ARRIVES_WITHIN_S)
    except NotInTime:
        yield "note", f"not all that was sent with prompts and secrets has arrived within {_ARRIVES_WITHIN_S} s"
    prompts, secrets = corpus.found_in(stand_in.text())
    yield _leaked(prompts, f"of {len(corpus.prompts):,} prompts under {len(content_names())} names in {_listed(taken)}")
    yield _leaked(secrets, f"of {len(set(corpus.secrets.values())):,} secrets")


def _leaked(places: Sequence[str], sent: str) -> tuple[_Mark, str]:
    if not places:
        return "ok", f"none {sent} leaves"
    shown = sorted(set(places))
    more = [f"and {len(shown) - _PLACES} more"] if len(shown) > _PLACES else []
    return "WRONG", "\n".join([f"{len(places):,} {sent} would leave:", *shown[:_PLACES], *more])


def _listed(signals: Sequence[str]) -> str:
    return signals[0] if len(signals) == 1 else f"{', '.join(signals[:-1])} and {signals[-1]}"


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
