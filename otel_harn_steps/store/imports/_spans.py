"""Spans in OTLP/JSON: lines of the Collector's file exporter, each with one `ExportTraceServiceRequest`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from otel_harn_steps.store.imports._lines import mapping_in, text_in

Value = str | int | float | bool | list[Any] | None


@dataclass(slots=True)
class Span:
    """A span. Times are nanoseconds since the epoch; ids are lowercase hex.

    Attributes:
        scope: the name of the instrumentation that made it.
        attributes: without those that are objects.
        resource: the attributes of the resource.
        is_error: whether its status is one.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_at: int
    ended_at: int
    scope: str
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]
    is_error: bool = False


def is_request(values: Mapping[str, Any]) -> bool:
    """Whether a line has spans."""
    return isinstance(values.get("resourceSpans"), list)


def spans_in(request: Mapping[str, Any]) -> Iterator[Span]:
    """The spans of a request.

    Raises:
        ValueError, TypeError: it is no such request; the message says why.
    """
    for of_resource in _objects(request, "resourceSpans"):
        resource = _attributes(mapping_in(of_resource, "resource"))
        for of_scope in _objects(of_resource, "scopeSpans"):
            scope = text_in(mapping_in(of_scope, "scope"), "name") or ""
            for span in _objects(of_scope, "spans"):
                yield _span(span, scope, resource)


def _objects(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = values.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise TypeError(f"spans whose {name} is no list of objects")
    return found


def _span(span: Mapping[str, Any], scope: str, resource: Mapping[str, Value]) -> Span:
    return Span(
        trace_id=_id(span, "traceId", 32),
        span_id=_id(span, "spanId", 16),
        parent_id=_id(span, "parentSpanId", 16) if span.get("parentSpanId") else None,
        name=text_in(span, "name") or "",
        started_at=_time(span, "startTimeUnixNano"),
        ended_at=_time(span, "endTimeUnixNano"),
        scope=scope,
        attributes=_attributes(span),
        resource=resource,
        is_error=mapping_in(span, "status").get("code") in (2, "STATUS_CODE_ERROR"),
    )


def _id(span: Mapping[str, Any], name: str, digits: int) -> str:
    """An id: hex by the specification of OTLP/JSON, in either case."""
    found = span.get(name)
    if not isinstance(found, str) or len(found) != digits:
        raise ValueError(f"a span whose {name} is {found!r:.100}")
    int(found, 16)
    return found.lower()


def _time(span: Mapping[str, Any], name: str) -> int:
    """A time: 64-bit integers are decimal strings in OTLP/JSON, or numbers."""
    found = span.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, (int, str)) or not 0 <= int(found) < 2**63:
        raise ValueError(f"a span whose {name} is {found!r:.100}")
    return int(found)


def _attributes(values: Mapping[str, Any]) -> dict[str, Value]:
    found = values.get("attributes", [])
    if not isinstance(found, list):
        return {}
    pairs = ((text_in(each, "key"), mapping_in(each, "value")) for each in found if isinstance(each, dict))
    return {key: _value(value) for key, value in pairs if key is not None}


def _value(value: Mapping[str, Any]) -> Value:
    for kind, found in value.items():
        if kind == "intValue":
            return int(found) if isinstance(found, (int, str)) and str(found).lstrip("-").isdecimal() else None
        if kind == "doubleValue":
            return float(found) if isinstance(found, (int, float)) else None
        if kind in ("stringValue", "boolValue") and isinstance(found, (str, bool)):
            return found
        if kind == "arrayValue" and isinstance(found, dict):
            items = found.get("values", [])
            return [_value(each) for each in items if isinstance(each, dict)] if isinstance(items, list) else None
    return None
