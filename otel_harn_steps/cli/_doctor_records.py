"""What `doctor` says of the records: models without a price, and requests that nobody saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._notes import UNSEEN_CALL
from otel_harn_steps.cli._reading_options import records_folder
from otel_harn_steps.cli._text_table import label
from otel_harn_steps.cli._unseen import unseen_hosts
from otel_harn_steps.store._numbers import counted

if TYPE_CHECKING:
    from otel_harn_steps.store import Store

_MOST: Final = 10


def records_findings(given: str | None) -> Iterator[tuple[bool, str]]:
    """What is found in the records, and whether it is wrong. Nothing that was met in the past is.

    Args:
        given: the folder of the records. None: the usual one.
    """
    try:
        folder = records_folder(given)
        if not folder.is_dir():
            yield False, f"none yet, in {folder}"
            return
        from otel_harn_steps.store import Store  # noqa: PLC0415 -- an extra

        with Store(folder) as store:
            store.update()
            yield False, f"ok      {folder}: {counted(len(store.runs(limit=None)), 'run')}"
            yield from ((False, text) for text in (*_unpriced(store), *_unseen(store)))
    except ModuleNotFoundError as error:
        yield False, f"-       reading them needs {error.name}: pip install 'otel-harn-steps[cli]'"
    except (OSError, ValueError) as error:
        yield True, f"BROKEN  {error}"


def _unpriced(store: Store) -> Iterator[str]:
    rows = [row for row in store.report("model").rows if row.spend.unpriced_calls]
    for row in rows[:_MOST]:
        yield f"UNKNOWN the price of {label(row.name)}: {counted(row.spend.unpriced_calls, 'call')}"
    if len(rows) > _MOST:
        yield f"        and of {len(rows) - _MOST:,} more models: otel-harn-steps report --by model --all"


def _unseen(store: Store) -> Iterator[str]:
    hosts = unseen_hosts(store.notes(UNSEEN_CALL))
    for where, count in hosts[:_MOST]:
        yield f"UNSEEN  {counted(count, 'request')} to {where}, from no client that is known here"
    if len(hosts) > _MOST:
        yield f"        and to {len(hosts) - _MOST:,} more hosts"
