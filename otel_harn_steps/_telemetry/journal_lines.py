"""The lines of the journal. `docs/journal.md` describes them, and `store/journal.schema.json` defines them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._version import __version__

if TYPE_CHECKING:
    from otel_harn_steps._telemetry.call_row import CallRow, StartedStep
    from otel_harn_steps._telemetry.record import CompletedStep

VERSION: Final = 1
"""Of the format. It changes when a reader of the one before would read something wrong; new fields do not change it."""

HEADER, CALL_SENT, CALL_SETTLED, STEP_STARTED, STEP_ENDED = LINES = (
    "journal", "call_sent", "call_settled", "step_started", "step_ended",
)  # fmt: skip
"""The events that have a form of their own. All others are notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalHeader:
    """The first line of a file: which process wrote it.

    Attributes:
        version: of the format.
        run_id: the run that the file's first row is part of.
        run_name: that run's name. None: it has none.
        program: the base name of the script or module, without its arguments.
        started_at: when the file was begun, in nanoseconds since the epoch.
        previous: the name of the file that this one continues. None: the process had none.
    """

    version: int
    run_id: str
    run_name: str | None
    process_id: int
    parent_process_id: int
    program: str
    started_at: int
    package_version: str
    python_version: str
    previous: str | None = None


def new_header(run_id: str, run_name: str | None, started_at: int, previous: str | None) -> JournalHeader:
    """The header of a file of this process."""
    return JournalHeader(
        version=VERSION,
        run_id=run_id,
        run_name=run_name,
        process_id=os.getpid(),
        parent_process_id=os.getppid(),
        program=_program(),
        started_at=started_at,
        package_version=__version__,
        python_version=".".join(map(str, sys.version_info[:3])),
        previous=previous,
    )


def file_prefix(run_id: str) -> str:
    """What the names of a run's files begin with: its id, without what a file's name cannot have."""
    return re.sub(r"[^\w.]", "_", run_id, flags=re.ASCII)[:64]


def _program() -> str:
    script = sys.argv[0] if sys.argv else ""
    if script == "-m":  # while `python -m NAME` is still starting
        after = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if "-m" in sys.orig_argv else []
        script = after[0] if after else script
    return os.path.basename(script) or "python"  # noqa: PTH119 -- pathlib costs 3 ms to import


# -- calls -------------------------------------------------------------------------------------------------------------
#
# What is the same for many calls is encoded once and kept; what is not is put into a template. So a line takes 3
# microseconds, where `json` takes 17, and msgspec and orjson, given the row itself, 1.5 and 2.5.

_IDS: Final = ("call_id", "step_id", "parent_id")
_NAMES_AT_SEND: Final = ("run_id", "step", "path", "agent", "provider", "operation", "requested_model")
_NAMES: Final = (*_NAMES_AT_SEND, "outcome", "model", "certainty", "price_book", "late")
_COUNTS_AT_SEND: Final = ("sent_at",)
_COUNTS: Final = (
    *_COUNTS_AT_SEND,
    "duration_ns",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_picousd",
    "estimated_tokens",
    "estimated_cost_picousd",
)
_MAPPINGS_AT_SEND: Final = ("labels",)
_MAPPINGS: Final = (*_MAPPINGS_AT_SEND, "details", "terms")

FIELDS_AT_SEND: Final = frozenset((*_IDS, *_NAMES_AT_SEND, *_COUNTS_AT_SEND, *_MAPPINGS_AT_SEND))
"""The fields of a row that a `call_sent` line has."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@lru_cache(maxsize=1024)
def _items_text(items: tuple[tuple[str, object], ...]) -> str:
    return _encode(dict(items))


def _mapping_text(mapping: Mapping[str, object]) -> str:
    return _items_text(tuple(mapping.items())) if mapping else "{}"


class _CallLine:
    """Writes rows as lines with the given fields."""

    def __init__(self, event: str, names: tuple[str, ...], counts: tuple[str, ...], mappings: tuple[str, ...]) -> None:
        self._names_text = lru_cache(maxsize=1024)(lambda values: _encode(dict(zip(names, values, strict=True)))[1:-1])
        self._get_names = attrgetter(*names)
        # `attrgetter` gives a single attribute as it is.
        self._get_numbers, self._is_one_number = attrgetter(*counts), len(counts) == 1
        self._get_mappings, self._is_one_mapping = attrgetter(*mappings), len(mappings) == 1
        self._no_mappings = ("{}",) * len(mappings)
        ids, numbers, texts = (",".join(f'"{name}":%s' for name in kind) for kind in (_IDS, counts, mappings))
        self._template = f'{{"event":"{event}",{ids},%s,{numbers},{texts}}}'

    def __call__(self, row: CallRow) -> str:
        # All in one function: this runs twice for each call.
        step_id, parent_id = row.step_id, row.parent_id
        numbers: Any = self._get_numbers(row)
        mappings = self._get_mappings(row)
        if self._is_one_number:
            numbers = (numbers,)
        if None in numbers:
            numbers = ["null" if each is None else each for each in numbers]
        if self._is_one_mapping:
            mappings = (mappings,)
        return self._template % (
            encode_basestring(row.call_id),
            "null" if step_id is None else encode_basestring(step_id),
            "null" if parent_id is None else encode_basestring(parent_id),
            self._names_text(self._get_names(row)),
            *numbers,
            *(map(_mapping_text, mappings) if any(mappings) else self._no_mappings),
        )


call_sent_line: Final = _CallLine(CALL_SENT, _NAMES_AT_SEND, _COUNTS_AT_SEND, _MAPPINGS_AT_SEND)
"""A call that was sent: what is known of it then."""

call_settled_line: Final = _CallLine(CALL_SETTLED, _NAMES, _COUNTS, _MAPPINGS)
"""A call that has ended: its whole row, so that no other line is needed to read it."""


# -- all others --------------------------------------------------------------------------------------------------------


def header_line(header: JournalHeader) -> str:
    """The first line of a file."""
    return _line(HEADER, asdict(header))


def step_started_line(started: StartedStep) -> str:
    """A step that was entered."""
    return _line(STEP_STARTED, started.to_dict())


def step_ended_line(record: CompletedStep) -> str:
    """A step that has ended, or an amendment: the record."""
    return _line(STEP_ENDED, record.to_dict())


def note_line(event: str, at: int, facts: Mapping[str, Any]) -> str:
    """A fact that is neither a call's nor a step's.

    Raises:
        ValueError: `event` is the name of a line that has a form of its own.
        TypeError: a fact is no JSON value.
    """
    if event in LINES:
        raise ValueError(f"{event!r} is no name for a note: it is a line of the journal")
    return _line(event, {"at": at, **facts})


def _line(event: str, values: Mapping[str, Any]) -> str:
    return _encode({"event": event, **values})
