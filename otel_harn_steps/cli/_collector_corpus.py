"""Prompts and secrets in every place of spans, logs and metrics, as OTLP in JSON: nothing of it may leave a Collector.

Each prompt is a sentence with a word of its own, each secret is random: whatever leaves is known by its place.
"""

from __future__ import annotations

import os
import random
import re
import string
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._telemetry import names

# Names that pass, which must not let a prompt or a secret pass.
_ALLOWED: Final = (
    *(names.STEP_NAME, names.STEP_PATH, names.AGENT_NAME, names.MODEL, names.REQUEST_MODEL, names.RESPONSE_ID),
    *(names.STATUS, names.INPUT_TOKENS, names.COST_USD, names.CALL_INPUT_TOKENS, names.BUDGET_EXCEEDED),
    *("gen_ai.tool.name", "gen_ai.conversation.id", "gen_ai.response.finish_reasons", "gen_ai.usage.note"),
    *("harn.label.tenant", "server.address", "error.type", "http.response.status_code", "traceloop.entity.name"),
    *("llm.token_count.prompt", "llm.usage.total_tokens", "openinference.span.kind"),
)
_RECORD_FIELDS: Final = ("name", "path", "model", "agent", "status", "input_tokens", "by_model", "start_time")
_WORD: Final = re.compile(r"leak[0-9]{5}[a-z]{4}")
# Attributes of an event, a link, a record or a point, where several are sent together.
_AT_A_TIME: Final = 20
_ALPHABETS: Final = {
    "x": string.ascii_letters + string.digits,
    "u": string.ascii_uppercase + string.digits,
    "h": "0123456789abcdef",
    "d": string.digits,
}


@cache
def content_names() -> tuple[str, ...]:
    """Names of attributes that hold content, as frameworks have them, and some that nobody thought of."""
    lines = (Path(__file__).parent / "collector_content.txt").read_text(encoding="utf-8").splitlines()
    return tuple(name for line in lines if not line.startswith("#") for name in line.split())


@cache
def secret_kinds() -> dict[str, str]:
    """Templates of secrets, by what they are.

    `{x20}` stands for 20 letters and digits, `{u20}` for capitals and digits, `{h20}` for hex digits, `{d20}` for
    digits.
    """
    lines = (Path(__file__).parent / "collector_secrets.txt").read_text(encoding="utf-8").splitlines()
    kinds = (line.partition(": ") for line in lines)
    return {kind: template.replace("\\n", "\n") for kind, _, template in kinds}


class Corpus:
    """Requests full of prompts and secrets.

    Attributes:
        arrived: what the last span, log and data point of each request say, so that their arrival can be waited for.
        span_ids: the ids of the spans of which nothing but content may be taken, hex.
    """

    def __init__(self) -> None:
        self.arrived = {signal: f"arrived.{os.urandom(8).hex()}" for signal in ("traces", "logs", "metrics")}
        self.span_ids: set[str] = set()
        self.prompts: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self._numbers = count(1)
        self._random = random.SystemRandom()
        self._trace_id, self._now = os.urandom(16).hex(), time.time_ns()

    def forget(self, prompts: set[str], secrets: set[str]) -> None:
        """Forget all but these: nobody took the others."""
        self.prompts = {word: place for word, place in self.prompts.items() if word in prompts}
        self.secrets = {part: place for part, place in self.secrets.items() if part in secrets}

    def found_in(self, text: str) -> tuple[list[str], list[str]]:
        """The places whose prompts, and those whose secrets, are in `text`."""
        seen = set(_WORD.findall(text))
        prompts = [place for word, place in self.prompts.items() if word in seen]
        return prompts, sorted({place for secret, place in self.secrets.items() if secret in text})

    def traces(self) -> dict[str, Any]:
        """A span for each name of content and for each secret, and spans with both in every other place."""
        spans = [
            self._span("chat gpt-5", [_attribute(name, self._shaped(name, at))])
            for at, name in enumerate(content_names())
        ]
        for some in _groups(content_names()):
            for event in ("exception", "gen_ai.user.message", "anything"):
                events = [{"name": event, "attributes": self._texts(some, f"on an event `{event}`")}]
                spans.append(self._span("chat gpt-5", events=events))
            link = {"traceId": self._trace_id, "spanId": os.urandom(8).hex()}
            links = [{**link, "attributes": self._texts(some, "on a link")}]
            # A Collector cannot read a link: such a span may be gone.
            spans.append(self._span("chat gpt-5", links=links, must_arrive=False))
        spans += self._spans_with_text()
        spans += self._spans_with_secrets()
        last = _attribute(names.STEP_NAME, self.arrived["traces"])
        spans.append(self._span("step done", [last, _attribute(names.STATUS, "completed")]))
        scope = {
            "name": self._text("the name of a scope"),
            "version": self._text("the version of a scope"),
            "attributes": self._texts(content_names(), "on a scope"),
        }
        inside = {"scope": scope, "spans": spans, "schemaUrl": self._text("a scope's schema")}
        outside = {"resource": self._resource(), "schemaUrl": self._text("a schema's address")}
        return {"resourceSpans": [{**outside, "scopeSpans": [inside]}]}

    def logs(self) -> dict[str, Any]:
        """Records with content in bodies, names, severities and attributes."""
        records: list[dict[str, Any]] = [
            {"eventName": event, "attributes": self._texts(some, f"on a log `{event}`")}
            for some in _groups(content_names())
            for event in ("gen_ai.user.message", "exception", names.COMPLETED_EVENT, "")
        ]
        records += [
            {"body": {"stringValue": self._text("a log's body")}},
            {"body": {"kvlistValue": {"values": [_attribute("content", self._text("a log's body as a map"))]}}},
            {"body": {"arrayValue": {"values": [{"stringValue": self._text("a log's body as a list")}]}}},
            {"eventName": self._text("a log's event name")},
            {"severityText": self._text("a log's severity")},
            _record(self._texts(_RECORD_FIELDS, "as a field of a record")),
            _record(self._texts([f"harn.step.{each}" for each in _RECORD_FIELDS], "as a field of a record")),
        ]
        for kind in secret_kinds():
            model = _attribute(names.REQUEST_MODEL, self._secret(kind, "as the model of a log"))
            records.append({"body": {"stringValue": self._secret(kind, "in a log's body")}, "attributes": [model]})
            records.append(_record([_attribute("name", f"ask {self._secret(kind, 'as the name of a record')}")]))
        records.append(_record([_attribute("name", self.arrived["logs"])]))
        for record in records:
            record["timeUnixNano"] = str(self._now)
        inside = {"scope": {"name": names.SCOPE}, "logRecords": records}
        return {"resourceLogs": [{"resource": self._resource(), "scopeLogs": [inside]}]}

    def metrics(self) -> dict[str, Any]:
        """Counters with content in names, units, descriptions, attributes and exemplars."""
        points = [self._point(self._texts(some, "on a metric")) for some in _groups(content_names())]
        for some in _groups(content_names()):
            exemplar = {"asDouble": 1, "filteredAttributes": self._texts(some, "on an exemplar")}
            points.append(self._point(exemplars=[exemplar | {"timeUnixNano": str(self._now)}]))
        points += [
            self._point([_attribute(names.STEP_NAME, self._secret(kind, "as a step's name on a metric"))])
            for kind in secret_kinds()
        ]
        for key in (names.STEP_NAME, "harn.label.tenant"):
            points.append(self._point(self._texts((key,), "on a metric")))
        metrics = [
            _counter(names.METRIC_CALLS[0], points, "{call}", self._text("a metric's description")),
            _counter(names.METRIC_COST[0], [self._point()], self._text("a metric's unit")),
            _counter(self._text("a metric's name"), [self._point()]),
            _counter("app.questions", [self._point(self._texts(("question",), "on a metric of the app"))]),
            _counter(names.METRIC_CALLS[0], [self._point([_attribute(names.STEP_NAME, self.arrived["metrics"])])]),
        ]
        inside = {"scope": {"name": names.SCOPE}, "metrics": metrics}
        return {"resourceMetrics": [{"resource": self._resource(), "scopeMetrics": [inside]}]}

    def _spans_with_text(self) -> Iterator[dict[str, Any]]:
        yield self._span(self._text("a span's name"))
        for operation in ("step", "chat", "execute_tool", "invoke_agent", "GET", "POST"):
            yield self._span(f"{operation} {self._text(f'a span name behind `{operation}`')}")
        yield self._span("chat gpt-5", status={"code": 2, "message": self._text("a status")})
        ours = f"step `{self._text('a name in our own sentence')}` exceeded max_usd budget ($2 > $1)"
        yield self._span("step plan", status={"code": 2, "message": ours})
        yield self._span("chat gpt-5", traceState=f"app={self._text('a trace state').replace(' ', '_')}")
        yield self._span("chat gpt-5", events=[{"name": self._text("an event's name")}])
        for key in _ALLOWED:
            for shape in range(_SHAPES):
                yield self._span("chat gpt-5", [_attribute(key, self._shaped(key, shape))])
        yield self._span("chat gpt-5", [_attribute("redaction.redacted.count", self._text("a count"))])

    def _spans_with_secrets(self) -> Iterator[dict[str, Any]]:
        for kind in secret_kinds():
            attributes = [
                _attribute(names.STEP_NAME, f"mail {self._secret(kind, 'in a step name')}"),
                _attribute(names.REQUEST_MODEL, self._secret(kind, "as a model")),
                _attribute("harn.label.user", self._secret(kind, "as a label")),
                _attribute("gen_ai.tool.name", f"({self._secret(kind, 'in a tool name')})"),
                _attribute("gen_ai.response.finish_reasons", [self._secret(kind, "in a list")]),
                _attribute(names.CALL_INPUT_TOKENS, self._secret(kind, "as a number of tokens")),
            ]
            status = {"code": 2, "message": f"401 for {self._secret(kind, 'in a status')}"}
            of_event = _attribute("exception.type", self._secret(kind, "as a type of error"))
            events = [{"name": "exception", "attributes": [of_event]}]
            name = f"step {self._secret(kind, 'in the name of a step span')}"
            yield self._span(name, attributes, status=status, events=events)
            yield self._span(f"chat {self._secret(kind, 'in the name of a call span')}")

    def _span(
        self, name: str, attributes: Sequence[object] = (), *, must_arrive: bool = True, **more: object
    ) -> dict[str, Any]:
        span_id = os.urandom(8).hex()
        if must_arrive:
            self.span_ids.add(span_id)
        times = {"startTimeUnixNano": str(self._now - 10**6), "endTimeUnixNano": str(self._now)}
        ids = {"traceId": self._trace_id, "spanId": span_id}
        return {**ids, "name": name, "kind": 3, "attributes": list(attributes), **times, **more}

    def _point(self, attributes: Sequence[object] = (), **more: object) -> dict[str, Any]:
        times = {"startTimeUnixNano": str(self._now - 10**9), "timeUnixNano": str(self._now)}
        return {"attributes": list(attributes), "asDouble": 1.0, **times, **more}

    def _resource(self) -> dict[str, Any]:
        texts = self._texts(content_names(), "on a resource")
        return {
            "attributes": [
                *texts,
                _attribute("service.name", f"agent {self._secret('OpenAI key', 'in the name of a service')}"),
            ]
        }

    def _texts(self, keys: Sequence[str], where: str) -> list[dict[str, Any]]:
        return [_attribute(key, self._text(f"`{key}` {where}")) for key in keys]

    def _text(self, place: str) -> str:
        """A prompt: a sentence with a word of its own."""
        word = f"leak{next(self._numbers):05}{''.join(self._random.choices(string.ascii_lowercase, k=4))}"
        self.prompts[word] = place
        return f"please keep {word} to yourself"

    def _shaped(self, key: str, shape: int) -> object:
        """A prompt as a text, a list, a map, or JSON without spaces: instrumentations differ."""
        text = self._text(f"`{key}` on a span")
        return (text, [text], {"content": text}, f'{{"content":"{text.replace(" ", "")}"}}')[shape % _SHAPES]

    def _secret(self, kind: str, where: str) -> str:
        def letters(found: re.Match[str]) -> str:
            return "".join(self._random.choices(_ALPHABETS[found[1]], k=int(found[2])))

        secret = re.sub(r"\{([xuhd])(\d+)\}", letters, secret_kinds()[kind])
        # Neither the first nor the last letters of its secret part may arrive.
        fixed = secret_kinds()[kind].partition("{")[0]
        part = re.split(r"[\n@]", secret[len(fixed) :])[0]
        for end in {part[:_NEEDLE], part[-_NEEDLE:]}:
            self.secrets[end] = f"{kind} {where}"
        return secret


_SHAPES: Final = 4
_NEEDLE: Final = 12


def _groups(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[at : at + _AT_A_TIME] for at in range(0, len(texts), _AT_A_TIME)]


def _attribute(key: str, value: object) -> dict[str, Any]:
    return {"key": key, "value": _value(value)}


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [_attribute(key, each) for key, each in value.items()]}}
    return {"stringValue": value}


def _record(attributes: Sequence[object]) -> dict[str, Any]:
    return {"eventName": names.COMPLETED_EVENT, "attributes": attributes}


def _counter(name: str, points: Sequence[object], unit: str = "", description: str = "") -> dict[str, Any]:
    total = {"dataPoints": points, "aggregationTemporality": 2, "isMonotonic": True}
    return {"name": name, "unit": unit, "description": description, "sum": total}
