"""The lines of journals, decoded and checked at once.

By msgspec, which the field uses where many lines of JSON are read: it takes 2 microseconds for a line, checked, where
`json` alone takes 8. It is in the `cli` extra; the reader of `otel-harn-steps run` does without (`_reading.py`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import msgspec

from otel_harn_steps._telemetry.call_row import NO_STEP
from otel_harn_steps._telemetry.journal_lines import CALL_SENT, CALL_SETTLED, HEADER, LINES, STEP_ENDED, STEP_STARTED

MOST: Final = 10**16
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
"""Up to ten thousand dollars in pico-dollars: more than a call costs, and little beside what a sum can hold."""
_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Header(msgspec.Struct, gc=False, tag_field="event", tag=HEADER):
    """The first line of a file."""

    version: int
    run_id: str
    program: str
    process_id: _Count
    started_at: _Nanoseconds
    run_name: str | None = None
    parent_process_id: _Count | None = None
    previous: str | None = None


class Sent(msgspec.Struct, gc=False, tag_field="event", tag=CALL_SENT):
    """A call that was sent."""

    call_id: str
    run_id: str
    sent_at: _Nanoseconds
    provider: str
    operation: str
    step_id: str | None = None
    parent_id: str | None = None
    step: str = NO_STEP
    path: str = ""
    agent: str | None = None
    labels: dict[str, str] = {}
    requested_model: str | None = None


class Settled(Sent, gc=False, tag_field="event", tag=CALL_SETTLED):
    """A call that has ended."""

    outcome: str = "open"
    duration_ns: _Nanoseconds | None = None
    model: str | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_read_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    details: dict[str, int] = {}
    terms: dict[str, str] = {}
    cost_picousd: _Count | None = None
    certainty: str = "unknown"
    price_book: str | None = None
    estimated_tokens: _Count = 0
    estimated_cost_picousd: _Count = 0
    late: bool = False


class _Step(msgspec.Struct, gc=False):
    name: str
    path: str
    run_id: str = ""
    step_id: str = ""
    parent_id: str | None = None
    agent: str | None = None
    labels: dict[str, str] = {}
    start_time: _Nanoseconds = 0
    max_tokens: int | None = None
    max_usd: float | None = None
    error_boundary: str | None = None
    trace_id: str | None = None
    detail: str | None = None


class Started(_Step, gc=False, tag_field="event", tag=STEP_STARTED):
    """A step that was entered."""


class Ended(_Step, gc=False, tag_field="event", tag=STEP_ENDED):
    """A step that has ended, or is amended."""

    status: str = "completed"
    error: str | None = None
    end_time: _Nanoseconds = 0
    breach: str | None = None
    amends: str | None = None
    budget_events: tuple[str, ...] | None = ()


class Note(msgspec.Struct):
    """Another fact."""

    event: str
    facts: dict[str, Any]


Line = Header | Sent | Settled | Started | Ended | Note

_decoder: Final = msgspec.json.Decoder(Header | Sent | Settled | Started | Ended)
_decode: Final = _decoder.decode
_decode_any: Final = msgspec.json.Decoder().decode


def decode_all(lines: bytes) -> list[Line] | None:
    """The lines, where nothing is to be said of any of them. None: they are to be decoded one by one."""
    if lines.startswith(b"\n") or b"\n\n" in lines:
        return None
    try:
        return list(_decoder.decode_lines(lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode(line: bytes) -> Line:
    """The line.

    Raises:
        ValueError: it is no line of a journal; the message says why.
    """
    try:
        decoded: Line = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the first is also what does not fit
        return _decoded_otherwise(line)
    return decoded


def _decoded_otherwise(line: bytes) -> Line:
    """A note, or a line with lone surrogates."""
    for each in (line, _with_escapes(line)):
        try:
            decoded: Line = _decode(each)
        except msgspec.ValidationError as error:
            return _note(each, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return decoded
    raise ValueError("is no JSON")


def without_surrogates(value: Any) -> Any:
    """A value of JSON, in which the escape of a lone surrogate stands for it: half of a character, which UTF-8 has not.

    A name may have one that was a file's name, in another encoding.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(each) for name, each in value.items()}
    return [without_surrogates(each) for each in value] if isinstance(value, list) else value


def may_have_surrogates(line: bytes) -> bool:
    """Whether a line of JSON has the escape of a surrogate, of half of a pair or of a lone one."""
    return b"\\ud" in line.lower()


def _with_escapes(line: bytes) -> bytes:
    """The line, readable for `msgspec`, if lone surrogates were what it could not read."""
    if not may_have_surrogates(line):
        return line
    try:
        return json.dumps(without_surrogates(json.loads(line))).encode()
    except (ValueError, RecursionError):
        return line


def _note(line: bytes, error: msgspec.ValidationError) -> Note:
    values = _decode_any(line)
    event = values.pop("event", None) if isinstance(values, dict) else None
    if not isinstance(event, str):
        raise ValueError("is no line of a journal") from None  # noqa: TRY004 -- of what was read, not of an argument
    if event in LINES:
        raise ValueError(f"{event}: {error}") from None
    values.pop("at", None)
    return Note(event, values)
