"""Writes what may leave into `redaction.yaml` and `honeycomb.yaml`: one list, the same processors in both.

    python tools/allow_list.py           writes them
    python tools/allow_list.py --check   exits with 1 if one of them is not current

The list is made of our own names (`_telemetry/names.py`, the fields of a record) and of `tools/allow_list.toml`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from otel_harn_steps._steps.budget import LIMITS
from tools.allowed_names import AllowedNames

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "collector-config" / f"{name}.yaml" for name in ("redaction", "honeycomb")]
BEGINS = "  # -- What may leave. Made by tools/allow_list.py; the same in redaction.yaml and honeycomb.yaml.\n"
ENDS = "  # -- The end of what is made.\n"

COUNT = "redaction.redacted.count"
MASKED = "redaction.masked.count"
# Setting of the environment: more attributes that may pass.
ALSO = "${env:ALSO_KEEP:-nothing else}"


def _any(patterns: Iterable[str], *more: str) -> str:
    return f"^({'|'.join([*patterns, *more])})$"


class Processors:
    """The processors that both files have."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given, self._lists = given, AllowedNames(given)
        shapes = given["shapes"]
        self._word, self._number = shapes["word"], f"({shapes['number']}|true|false)"
        part = shapes["name_part"]
        self._name = f"({part}( {part}){{0,3}}|{shapes['name_without_spaces']})"
        # Of a path each part is a name.
        outside = part.replace("/", "")
        outside = f"{outside}( {outside}){{0,3}}"
        self._path = f"({outside}/)*{outside}"
        self._secret = [f"({each})" for each in given["secrets"].values()]

    def text(self) -> str:
        """All of them, as YAML."""
        parts = [self._transform(), self._filter(), *self._redactions(), self._last()]
        return "".join(line + "\n" for part in parts for line in part)

    def _span_names(self) -> str:
        kinds = self._given["span_names"]
        return _any(
            [
                rf"({'|'.join(kinds['models'])}) {self._word}",
                rf"({'|'.join(kinds['names'])}) {self._name}",
                *kinds["whole"],
                r"[A-Za-z0-9_.:/*-]{1,64}",
            ]
        )

    def _transform(self) -> Iterator[str]:
        yield "  transform/allow:"
        yield "    error_mode: propagate"
        yield "    # In one group for all contexts, statements on spans would run once for each event of a span."
        yield "    trace_statements:"
        yield from _group("resource", self._resource(is_counted=True))
        yield from _group("scope", self._scope(is_counted=True))
        yield from _group("span", self._span())
        yield from _group("spanevent", self._event())
        yield "    log_statements:"
        yield from _group("resource", self._resource(is_counted=True))
        yield from _group("scope", self._scope(is_counted=True))
        yield from _group("log", self._log())
        yield "    metric_statements:"
        yield from _group("resource", self._resource(is_counted=False))
        yield from _group("scope", self._scope(is_counted=False))
        yield from _group("metric", self._metric())
        yield from _group("datapoint", [_keep("datapoint.attributes", self._lists.of_spans, ALSO)])
        yield from _group("exemplar", ['keep_matching_keys(exemplar.filtered_attributes, "^$")'])

    def _resource(self, *, is_counted: bool) -> Iterator[str]:
        keep = _keep("resource.attributes", self._lists.of_resources, COUNT, MASKED, ALSO)
        yield from _counted("resource", keep) if is_counted else [keep]
        yield _without_text("resource.schema_url", _SCHEMA_URL)

    def _scope(self, *, is_counted: bool) -> Iterator[str]:
        count = f'resource.attributes["{COUNT}"]'
        if is_counted:
            yield f"set({count}, {count} + Len(scope.attributes)) where {count} != nil"
        yield 'keep_matching_keys(scope.attributes, "^$")'
        yield f'set(scope.name, "scope") where not IsMatch(scope.name, {_string(f"^({self._word})?$")})'
        yield _without_text("scope.version", "^[A-Za-z0-9.+_-]{0,40}$")
        yield _without_text("scope.schema_url", _SCHEMA_URL)

    def _span(self) -> Iterator[str]:
        keep = _keep("span.attributes", self._lists.of_spans, COUNT, MASKED, ALSO)
        yield from _counted("span", keep)
        one_more = f'set(span.attributes["{COUNT}"], span.attributes["{COUNT}"] + 1) where'
        secret = _string("|".join(self._secret))
        yield f'replace_pattern(span.name, {secret}, "****")'
        yield f'replace_pattern(span.status.message, {secret}, "****") where span.status.message != ""'
        known = f"IsMatch(span.name, {_string(self._span_names())})"
        yield f"{one_more} not {known}"
        kinds = self._given["span_names"]
        words = [*kinds["models"], *kinds["names"], *kinds["cut"]]
        first = _string(f"(?s)^({'|'.join(words)}) .*$")
        # `$$` is how a Collector's configuration writes `$`.
        yield f'replace_pattern(span.name, {first}, "$$1") where not {known}'
        a_word = f"IsMatch(span.name, {_string(_any(words))})"
        yield f'set(span.name, "span") where not {known} and not {a_word}'
        ours = f"IsMatch(span.status.message, {_string(self._sentences())})"
        yield f'{one_more} span.status.message != "" and not {ours}'
        yield f'set(span.status.message, "") where not {ours}'
        yield _without_text("span.trace_state", "^(ot=[a-z0-9:;.-]{1,64})?$")
        # Nothing in a Collector reads the attributes of links, so whole links go. `nil` empties since 0.161; where that
        # is switched off, the filter behind this drops the span.
        yield f'set(span.attributes["{COUNT}"], span.attributes["{COUNT}"] + Len(span.links))'
        yield "set(span.links, nil) where Len(span.links) > 0"

    def _sentences(self) -> str:
        """What our own sentences about a budget look like. Of a status' text only they pass."""
        limit = "|".join(sorted(LIMITS))
        numbers = r"\((up to )?[$0-9.]+( s)? > [$0-9.]+( s)?\)"
        return (
            f"^(step|run|agent|test) `{self._name}` ("
            rf"(exceeded ({limit}) budget|has no room in its ({limit}) budget for a call) {numbers}"
            rf"|has ended: its ({limit}) budget had no room for an earlier call"
            r"|repeats itself: the same requests got the same answers [0-9]{1,9} times in a row \(loop=[0-9]{1,9}\))$"
        )

    def _event(self) -> Iterator[str]:
        count, known = f'span.attributes["{COUNT}"]', _string(_any(self._given["events"]))
        yield f"set({count}, {count} + 1) where not IsMatch(spanevent.name, {known})"
        yield f"set({count}, {count} + Len(spanevent.attributes)) where IsMatch(spanevent.name, {known})"
        yield _keep("spanevent.attributes", self._lists.of_spans, ALSO)
        yield f"set({count}, {count} - Len(spanevent.attributes)) where IsMatch(spanevent.name, {known})"

    def _log(self) -> Iterator[str]:
        of_ours = [*self._lists.of_our_logs, *self._lists.of_spans]
        ours = _keep("log.attributes", of_ours, COUNT, MASKED, ALSO)
        others = _keep("log.attributes", self._lists.of_spans, COUNT, MASKED, ALSO)
        is_ours = r'IsMatch(log.event_name, "^harn\\.[a-z_.]+$")'
        yield from _counted("log", f"{ours} where {is_ours}", f"{others} where not {is_ours}")
        one_more = f'set(log.attributes["{COUNT}"], log.attributes["{COUNT}"] + 1) where'
        yield f'{one_more} log.body != nil and not IsMatch(log.body, "^$")'
        yield 'set(log.body, "")'
        events = f"IsMatch(log.event_name, {_string(_any(self._given['events'], ''))})"
        yield f"{one_more} not {events}"
        yield f'set(log.event_name, "") where not {events}'
        yield _without_text(
            "log.severity_text", "^(?i:(trace|debug|info|warn|error|fatal)[1-4]?|warning|notice|critical|)$"
        )

    def _metric(self) -> Iterator[str]:
        yield 'set(metric.description, "")'
        yield _without_text("metric.unit", "^[A-Za-z0-9{}/%.*_]{0,24}$")
        yield 'keep_matching_keys(metric.metadata, "^$")'

    def _filter(self) -> Iterator[str]:
        yield "  filter/allow:"
        yield "    error_mode: propagate"
        yield "    trace_conditions:"
        yield from _conditions("spanevent", f"not IsMatch(spanevent.name, {_string(_any(self._given['events']))})")
        yield from _conditions("span", "Len(span.links) > 0")
        yield "    metric_conditions:"
        yield from _conditions("metric", f"not IsMatch(metric.name, {_string(_any(self._given['metrics']))})")

    def _redactions(self) -> Iterator[Iterable[str]]:
        lists = self._lists
        numbers, words, names_ = lists.numbers, lists.words, lists.names
        of_ours, also = [re.escape(COUNT), re.escape(MASKED)], [ALSO]
        # The values of one word, and of a name, may also be lists of such, or JSON of numbers.
        word, name = self._word, self._name
        json = rf'\{{("[a-z_]+": ?{self._number},? ?)*\}}'
        spend = rf'\[(\{{("[a-z_]+":("{name}"|"{word}"|{self._number}|null),?)*\}},?)*\]'
        secrets = [(title, pattern) for title, pattern in self._given["secrets"].items()]
        yield _redaction(
            "secrets", "what looks like a secret is masked in everything", secrets, [], [*numbers, *of_ours]
        )
        everything = [("", r"(?s)^.+$")]
        yield _redaction(
            "numbers", "only numbers", everything, [f"^{self._number}$"], [*words, *names_, *of_ours, *also]
        )
        yield _redaction(
            "words",
            "only one word",
            everything,
            [f'^"?({word})?"?$', rf'^\[("{word}",?)*\]$', f"^{json}$"],
            [*numbers, *names_, *of_ours, *also],
        )
        yield _redaction(
            "names",
            "only up to four words, and the split of a record by models",
            everything,
            [f"^{name}$", f"^{self._path}$", rf'^\[("{name}",?)*\]$', f"^{spend}$"],
            [*numbers, *words, *of_ours],
        )

    def _last(self) -> Iterator[str]:
        """How much was taken out stays, where something was."""
        yield "  transform/counts:"
        yield "    error_mode: propagate"
        for signal, contexts in (
            ("trace", ("resource", "scope", "span", "spanevent")),
            ("log", ("resource", "scope", "log")),
        ):
            yield f"    {signal}_statements:"
            for context in contexts:
                of_it = f"{context}.attributes"
                statements = [
                    rf'delete_matching_keys({of_it}, "^redaction\\.(allowed|ignored)\\.|^redaction\\.body\\.")'
                ]
                if context in ("resource", "span", "log"):
                    statements.append(f'delete_key({of_it}, "{COUNT}") where {of_it}["{COUNT}"] == 0')
                yield from _group(context, statements)
        yield "    metric_statements:"
        for context in ("resource", "scope", "datapoint"):
            # One more attribute would be another series.
            yield from _group(context, [rf'delete_matching_keys({context}.attributes, "^redaction\\.")'])


_SCHEMA_URL = r"^(https://opentelemetry\.io/[a-z0-9./_-]{1,60})?$"


def _keep(attributes: str, patterns: Iterable[str], *more: str) -> str:
    return f"keep_matching_keys({attributes}, {_string(_any(patterns, *more))})"


def _counted(context: str, *statements: str) -> Iterator[str]:
    """Statements that take attributes out, and how many they took, which adds up over Collectors."""
    attributes, before = f"{context}.attributes", f'{context}.cache["before"]'
    count = f'{attributes}["{COUNT}"]'
    yield f'delete_key({attributes}, "{COUNT}") where not IsInt({count})'
    yield f'delete_key({attributes}, "{MASKED}") where not IsInt({attributes}["{MASKED}"])'
    yield f"set({count}, 0) where {count} == nil"
    yield f"set({before}, Len({attributes}))"
    yield from statements
    yield f"set({count}, {count} + {before} - Len({attributes}))"


def _without_text(field: str, allowed: str) -> str:
    return f'set({field}, "") where not IsMatch({field}, {_string(allowed)})'


def _group(context: str, statements: Iterable[str]) -> Iterator[str]:
    yield f"      - context: {context}"
    yield "        statements:"
    for each in statements:
        yield f"          - {_yaml(each)}"


def _conditions(context: str, *conditions: str) -> Iterator[str]:
    yield f"      - context: {context}"
    yield "        conditions:"
    for each in conditions:
        yield f"          - {_yaml(each)}"


def _redaction(
    name: str, title: str, blocked: Sequence[tuple[str, str]], allowed: Sequence[str], ignored: Sequence[str]
) -> Iterator[str]:
    yield f"  redaction/{name}:  # {title}"
    yield "    allow_all_keys: true"
    yield "    redact_all_types: true"
    yield "    blocked_values:"
    for what, pattern in blocked:
        yield f"      - {_yaml(pattern)}" + (f"  # {what}" if what else "")
    if allowed:
        yield "    allowed_values:"
        yield from (f"      - {_yaml(each)}" for each in allowed)
    # A name is looked up, which is much faster than to look for a pattern.
    plain = dict.fromkeys(key for each in ignored for key in _plain(each))
    yield f"    ignored_keys: [{', '.join(plain)}]"
    yield "    ignored_key_patterns:"
    yield f"      - {_yaml(_any(each for each in ignored if not _plain(each)))}"
    yield "    summary: info"


def _plain(pattern: str) -> list[str]:
    """The names that a pattern stands for, if these are only one or two."""
    _, _, rest = pattern.replace("\\.", ".").rpartition("(harn.step.)?")
    if not re.fullmatch(r"[a-z0-9_.]+", rest):
        return []
    return [rest, f"harn.step.{rest}"] if pattern.startswith("(") else [rest]


def _string(pattern: str) -> str:
    """A regular expression as OTTL writes a string."""
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def made() -> str:
    """The part of both files that is made."""
    with (ROOT / "tools" / "allow_list.toml").open("rb") as file:
        return Processors(tomllib.load(file)).text()


def with_part(text: str, part: str) -> str:
    """The text of a file, with `part` between its marks."""
    before, begins, rest = text.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        sys.exit("the marks of what is made are missing")
    return before + begins + part + ends + after


def main() -> int:
    """Write, or check."""
    part, stale = made(), 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if text == with_part(text, part):
            continue
        if "--check" in sys.argv:
            print(f"{path} is not current: run {Path(__file__).name}")
            stale = 1
        else:
            path.write_text(with_part(text, part), encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
