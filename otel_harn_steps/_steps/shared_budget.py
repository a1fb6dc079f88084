"""The budget of a whole program: its processes reserve what a call may spend, and settle what it has spent.

All of them use one file. An amount is one text in it, because an integer of SQLite ends at 9.2 million dollars.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_harn_steps._steps.lease_owner import Owner
from otel_harn_steps._steps.shared_amounts import NO_AMOUNT, Amount, Reserved, SharedLimits, Totals
from otel_harn_steps._steps.shared_file import SharedBudgetError, SharedFile

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = ["Amount", "Reserved", "SharedBudget", "SharedBudgetError", "SharedLimits", "Totals"]

_SCHEMA: Final = """
CREATE TABLE state (
    spent TEXT NOT NULL, reserved TEXT NOT NULL, ended_by TEXT, refused INTEGER NOT NULL, next_lease INTEGER NOT NULL
);
CREATE TABLE leases (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, reserved TEXT NOT NULL, expires_s REAL);
CREATE TABLE settled (id INTEGER PRIMARY KEY, spent TEXT NOT NULL);
CREATE TABLE processes (owner TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO state VALUES ('0 0 0 0', '0 0 0 0', NULL, 0, 1);
"""
_LEASE_S: Final = 15 * 60.0
_BUSY_S: Final = 2.0
_KEPT: Final = 10_000
"""So many settled leases can be corrected."""
_CLEARED_EVERY: Final = 256
_DAMAGED: Final = "the file of the run's budget is damaged"


class SharedBudget:
    """What the processes of a run have spent and reserved together. For any thread; a forked child connects anew.

    Every method may raise `SharedBudgetError`, which says what the caller then does. None waits longer than `busy_s`
    for other processes.

    Args:
        path: the file, which is made if it is not there, for its owner alone.
        lease_s: after so many seconds without `grow`, what a lease has reserved may come back.
        busy_s: how many seconds to wait for other processes.
        clock: seconds, the same in all processes of this machine.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lease_s: float = _LEASE_S,
        busy_s: float = _BUSY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = SharedFile(os.fspath(path), _SCHEMA, busy_s=busy_s)
        self._lease_s, self._clock = lease_s, clock
        self._owner = Owner.here()
        self._is_listed = False

    def reserve(self, asked: Amount, limits: SharedLimits) -> Reserved:
        """Reserve what a call may spend, unless that with all that is spent and reserved would cross a limit.

        Nothing is reserved once the run has ended: `crossed` is then what ended it. A lease whose process is dead, or
        that has expired, comes back here before anything is refused for it.
        """
        reserved = self._file.write(partial(self._reserve, asked, limits))
        self._is_listed = True
        return reserved

    def grow(self, lease: int, to: Amount, limits: SharedLimits) -> Reserved:
        """Reserve `to` instead of what the lease has reserved, and renew it; else it keeps what it has.

        What is nowhere more than it was always fits. A lease that has settled stays settled: nothing is reserved.
        """
        return self._file.write(partial(self._grow, lease, to, limits))

    def settle(self, lease: int | None, spent: Amount) -> Totals:
        """Give back what the lease has reserved, and add what was spent, whatever the limits: the money is spent.

        Settled once more, the lease counts with the last amount alone. That holds for the last 10,000 leases; an older
        one stays as it was settled. None: a call that had reserved nothing.
        """
        return self._file.write(partial(_settle, lease, spent))

    def release(self, lease: int) -> Totals:
        """Give back what the lease has reserved. Nothing was spent. Released or settled before, nothing changes."""
        return self._file.write(partial(_release, lease))

    def totals(self) -> Totals:
        """What is spent and reserved now."""
        return self._file.read(_read_totals)

    def note_ended(self, limit: str) -> Totals:
        """The run has ended by this limit. The first one that is noted stays."""

        def work(connection: Connection) -> Totals:
            connection.execute("UPDATE state SET ended_by = coalesce(ended_by, ?)", (limit,))
            return _read_totals(connection)

        return self._file.write(work)

    def note_refused(self) -> int:
        """A process was stopped hard because the run has ended. Returns how often that was; 0 before its end."""

        def work(connection: Connection) -> int:
            self._here(connection)
            connection.execute("UPDATE state SET refused = refused + 1 WHERE ended_by IS NOT NULL")
            return _read(connection).refused

        return self._file.write(work)

    def processes(self) -> list[int]:
        """The ids of the living processes that have asked for something, refused or not."""
        rows = self._file.read(lambda connection: connection.execute("SELECT owner FROM processes").fetchall())
        owners = [_owner(text) for (text,) in rows]
        return [owner.pid for owner in owners if owner.is_alive()]

    def close(self) -> None:
        """Let go of the file. Leases stay, and a later use opens it again."""
        self._file.close()

    def _reserve(self, asked: Amount, limits: SharedLimits, connection: Connection) -> Reserved:
        state, owner = _read(connection), self._here(connection)
        if state.ended_by is not None:
            return Reserved(None, state.ended_by, False, state.spent, state.reserved)
        found, refused = self._make_room(connection, state, asked, asked, limits)
        if refused is not None:
            return refused
        reserved, lease = found.reserved.plus(asked), found.next_lease
        connection.execute("INSERT INTO leases VALUES (?, ?, ?, ?)", (lease, owner, _text(asked), self._expiry()))
        connection.execute("UPDATE state SET reserved = ?, next_lease = ?", (_text(reserved), lease + 1))
        return Reserved(lease, None, True, found.spent, reserved)

    def _grow(self, lease: int, to: Amount, limits: SharedLimits, connection: Connection) -> Reserved:
        state = _read(connection)
        held = _held(connection, lease)
        if held is None and _settled(connection, lease) is not None:
            return Reserved(lease, None, True, state.spent, state.reserved)
        more = to.minus(held or NO_AMOUNT)
        owner, expires_s = self._here(connection), self._expiry()
        connection.execute("UPDATE leases SET owner = ?, expires_s = ? WHERE id = ?", (owner, expires_s, lease))
        if max(more) > 0:
            state, refused = self._make_room(connection, state, more, to, limits)
            if refused is not None:
                return refused._replace(lease=None if held is None else lease)
        reserved = state.reserved.plus(more)
        connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", (lease, owner, _text(to), expires_s))
        connection.execute("UPDATE state SET reserved = ?", (_text(reserved),))
        return Reserved(lease, None, True, state.spent, reserved)

    def _make_room(
        self, connection: Connection, state: _State, more: Amount, whole: Amount, limits: SharedLimits
    ) -> tuple[_State, Reserved | None]:
        """The state in which `more` fits, if need be without what dead processes have reserved; or the refusal.

        `whole` is all that the lease would then hold, `more` included.
        """
        crossed = limits.crossed_by(state.spent.plus(state.reserved).plus(more))
        if crossed is None:
            return state, None
        fits_later = limits.crossed_by(state.spent.plus(whole)) is None
        if fits_later:
            state = state._replace(reserved=self._take_back(connection, state.reserved))
            crossed = limits.crossed_by(state.spent.plus(state.reserved).plus(more))
        if crossed is None:
            return state, None
        return state, Reserved(None, crossed, fits_later, state.spent, state.reserved)

    def _take_back(self, connection: Connection, reserved: Amount) -> Amount:
        """Take back what dead processes and expired leases have reserved. Returns what stays reserved."""
        now = self._clock()
        alive: dict[str, bool] = {}
        for lease, owner, text, expires_s in connection.execute(
            "SELECT id, owner, reserved, expires_s FROM leases WHERE expires_s IS NOT NULL"
        ).fetchall():
            if owner not in alive:
                alive[owner] = _owner(owner).is_alive()
            if not alive[owner]:
                connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
            elif expires_s <= now:
                # Its process may yet settle it, however late, and is then found here.
                connection.execute(
                    "UPDATE leases SET reserved = ?, expires_s = NULL WHERE id = ?", (_text(NO_AMOUNT), lease)
                )
            else:
                continue
            reserved = reserved.minus(_amount(text))
        connection.execute("UPDATE state SET reserved = ?", (_text(reserved),))
        return reserved

    def _here(self, connection: Connection) -> str:
        """This process as an owner, which is listed once."""
        if self._owner.pid != os.getpid():
            self._owner, self._is_listed = Owner.here(), False
        text = self._owner.to_text()
        if not self._is_listed:
            connection.execute("INSERT OR IGNORE INTO processes VALUES (?)", (text,))
        return text

    def _expiry(self) -> float:
        return self._clock() + self._lease_s


class _State(NamedTuple):
    spent: Amount
    reserved: Amount
    ended_by: str | None
    refused: int
    next_lease: int


def _settle(lease: int | None, spent: Amount, connection: Connection) -> Totals:
    state = _read(connection)
    total, reserved = state.spent.plus(spent), state.reserved
    if lease is not None:
        held, before = _held(connection, lease), _settled(connection, lease)
        if held is None and before is None and lease < state.next_lease - _KEPT:
            return Totals(*state[:4])  # settled before, by an amount that is not known any more
        reserved = reserved.minus(held or NO_AMOUNT)
        total = total.minus(before or NO_AMOUNT)
        connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
        connection.execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (lease, _text(spent)))
        if lease % _CLEARED_EVERY == 0:
            connection.execute("DELETE FROM settled WHERE id < ?", (state.next_lease - _KEPT,))
    connection.execute("UPDATE state SET spent = ?, reserved = ?", (_text(total), _text(reserved)))
    return Totals(total, reserved, state.ended_by, state.refused)


def _release(lease: int, connection: Connection) -> Totals:
    state, held = _read(connection), _held(connection, lease)
    if held is None:
        return Totals(*state[:4])
    reserved = state.reserved.minus(held)
    connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
    connection.execute("UPDATE state SET reserved = ?", (_text(reserved),))
    return Totals(state.spent, reserved, state.ended_by, state.refused)


def _read_totals(connection: Connection) -> Totals:
    return Totals(*_read(connection)[:4])


def _read(connection: Connection) -> _State:
    row = connection.execute("SELECT spent, reserved, ended_by, refused, next_lease FROM state").fetchone()
    if row is None:
        raise SharedBudgetError(_DAMAGED)
    spent, reserved, *others = row
    return _State(_amount(spent), _amount(reserved), *others)


def _held(connection: Connection, lease: int) -> Amount | None:
    """What a lease has reserved. None: it is not in flight."""
    row = connection.execute("SELECT reserved FROM leases WHERE id = ?", (lease,)).fetchone()
    return None if row is None else _amount(row[0])


def _settled(connection: Connection, lease: int) -> Amount | None:
    """What a lease has settled with. None: it has not."""
    row = connection.execute("SELECT spent FROM settled WHERE id = ?", (lease,)).fetchone()
    return None if row is None else _amount(row[0])


def _text(amount: Amount) -> str:
    return " ".join(map(str, amount))


def _amount(text: str) -> Amount:
    try:
        return Amount(*map(int, text.split(" ")))
    except (TypeError, ValueError) as error:
        raise SharedBudgetError(_DAMAGED) from error


def _owner(text: str) -> Owner:
    try:
        return Owner.of(text)
    except ValueError as error:
        raise SharedBudgetError(_DAMAGED) from error
