"""What any reading of any answer has to be like."""

from __future__ import annotations

from dataclasses import fields

from otel_harn_steps._calls.client import ParsedResponse
from otel_harn_steps._cost.usage import Usage

_MORE_THAN_ANY_CALL = 10**17


def assert_plausible(reading: ParsedResponse) -> None:
    """Names are text, counts are no nonsense, and only what a call used on either side may be unknown."""
    assert all(isinstance(each, str | None) for each in (reading.model, reading.response_id))
    for part in reading.parts:
        counts = {each.name: getattr(part.usage, each.name) for each in fields(Usage)}
        unknown = {name for name, count in counts.items() if count is None}
        assert unknown <= {"input_tokens", "output_tokens"}
        known = [count for count in counts.values() if count is not None]
        assert all(type(count) is int and 0 <= count < _MORE_THAN_ANY_CALL for count in known)
        assert all(isinstance(each, str) for term in part.terms for each in term)
