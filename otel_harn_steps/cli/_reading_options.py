"""The options that all commands have which read the store: where it is, and which calls are meant."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._command import complain

if TYPE_CHECKING:
    from otel_harn_steps.store import Filter, Store

RECORDS: Final = "OTEL_HARN_STEPS_RECORDS"
_MOST_DAMAGED: Final = 3


def add_records(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the store is."""
    parser.add_argument(
        "--records",
        metavar="DIR",
        help=f"the folder of the records; default: {RECORDS}, else the data folder of this platform",
    )


def add_filter(parser: argparse.ArgumentParser, *, without: Collection[str] = ()) -> None:
    """Add `--records`, and the options that say which calls are meant.

    Args:
        parser: the parser of the command.
        without: options that this command does not have: "since", "until", "step", "model", ...
    """
    add_records(parser)
    parser.set_defaults(since=None, until=None, label=[], **{name: [] for name in _PATTERNS})
    chosen = parser.add_argument_group("which calls")
    if "since" not in without:
        chosen.add_argument("--since", metavar="WHEN", help="from then on: 7d, 24h, today, 2026-11-26")
    if "until" not in without:
        chosen.add_argument("--until", metavar="WHEN", help="before then, as --since")
    for name, what in _PATTERNS.items():
        if name not in without:
            chosen.add_argument(
                f"--{name}", action="append", metavar="GLOB", help=f"only {what} as `plan*`; may be repeated"
            )
    chosen.add_argument("--label", action="append", metavar="NAME=VALUE", help="only with this label; may be repeated")


_PATTERNS: Final = {
    "step": "steps with such a name or path",
    "agent": "agents with such a name",
    "model": "models with such a name",
    "provider": "providers with such a name",
    "program": "programs with such a name",
}


def read_filter(arguments: argparse.Namespace) -> Filter:
    """The filter that the options say.

    Raises:
        ValueError: a value is none. The message names option, value and what is allowed.
    """
    from otel_harn_steps.store import Filter  # noqa: PLC0415 -- only what the command needs

    since, until = (
        None if given is None else read_time(f"--{name}", given)
        for name, given in (("since", arguments.since), ("until", arguments.until))
    )
    if since is not None and until is not None and since >= until:
        raise ValueError(f"--until must be later than --since, not {arguments.until!r}")
    return Filter(
        since=since,
        until=until,
        steps=tuple(arguments.step),
        agents=tuple(arguments.agent),
        models=tuple(arguments.model),
        providers=tuple(arguments.provider),
        programs=tuple(arguments.program),
        labels=dict(_label(each) for each in arguments.label),
    )


def read_time(option: str, given: str, now_s: float | None = None) -> int:
    """A moment in nanoseconds since the epoch: a period before now, or a day or time of local time.

    Raises:
        ValueError: it is none.
    """
    from otel_harn_steps.store import _moments  # noqa: PLC0415 -- as above

    return _moments.read_time(option, given, now_s)


def _label(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise ValueError(f"--label must be NAME=VALUE, such as tenant=acme, not {given!r}")
    return name, value


def records_folder(given: str | None) -> Path:
    """Where the records are: as given, else as the environment says, else in the platform's data folder.

    Raises:
        ModuleNotFoundError: it is the platform's, and the `cli` extra is not installed.
    """
    chosen = given or os.environ.get(RECORDS)
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_data_path  # noqa: PLC0415 -- an extra

    return user_data_path("otel-harn-steps", appauthor=False) / "records"


def open_store(arguments: argparse.Namespace) -> Store:
    """The store, with what is new in it read.

    Raises:
        SystemExit: with 2, it cannot be read. What is wrong was said.
    """
    import sqlite3  # noqa: PLC0415 -- with the store

    try:
        from otel_harn_steps.store import Store  # noqa: PLC0415 -- an extra

        folder = records_folder(arguments.records)
        if arguments.records is not None and not folder.is_dir():
            raise NotADirectoryError(f"--records {folder}: there is no such folder")
        store = Store(folder)
        store.update()
    except ModuleNotFoundError as error:
        complain(f"reading the records needs {error.name}: pip install 'otel-harn-steps[cli]'")
    except (OSError, ValueError, sqlite3.Error) as error:
        complain(str(error))
    else:
        damaged = store.damaged
        for each in damaged[:_MOST_DAMAGED]:
            complain(f"a line of the records is left out, 1 of {len(damaged)}: {each}")
        return store
    raise SystemExit(2)
