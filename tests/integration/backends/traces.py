"""What is read of traces that a backend has."""

from __future__ import annotations


def tags(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


FAST = {"BATCH_TIMEOUT": "200ms", "DECISION_WAIT": "60s", "DECISION_WAIT_AFTER_ROOT": "1s"}


def kept(backend):
    return {int.from_bytes(span.trace_id, "big") for span in backend.spans()}
