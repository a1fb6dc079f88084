"""A forked child's counters: they begin at zero, because its parent exports what was counted before the fork."""

from __future__ import annotations

from dataclasses import fields
from threading import Lock
from typing import TYPE_CHECKING

from otel_harn_steps._guard import guard

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def begin_at_zero(instruments: DataclassInstance) -> None:
    """Forget what instruments have counted, in every reader of the SDK. No other instrument is touched.

    The SDK has no public way: it copies the sums into the child, whose reader would export them as the child's own.

    Args:
        instruments: the fields that are instruments.
    """
    with guard("beginning at zero in a forked child", ours=False):  # this SDK may keep them elsewhere
        _forget_counts(instruments)


def _forget_counts(instruments: DataclassInstance) -> None:
    for each in fields(instruments):
        instrument = getattr(instruments, each.name)
        # The API hands out proxies until there is an SDK; what has never been given one has counted nothing.
        real = getattr(instrument, "_real_instrument", instrument)
        consumer = getattr(real, "_measurement_consumer", None)
        if consumer is None:
            continue
        for storage in list(consumer._reader_storages.values()):
            for match in storage._instrument_view_instrument_matches.get(real, ()):
                match._lock = Lock()  # another thread may have held it
                match._attributes_aggregation = {}
