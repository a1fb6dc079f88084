"""A SQLite file that the processes of a run share: one transaction at a time, over forks, threads and `kill -9`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet, finalize

from otel_harn_steps._process import in_forked_child, new_id

if TYPE_CHECKING:
    from sqlite3 import Connection

_T = TypeVar("_T")

# Not WAL: it holds locks for as long as it is connected, and a forked child would take its parent's for its own.
# Not synced: the file has to survive a killed process, whose writes the system has, and not a power cut.
_SETTINGS: Final = "PRAGMA journal_mode=PERSIST; PRAGMA synchronous=OFF"
# Nobody sees the file before it is complete.
_FILLING: Final = "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"


class SharedBudgetError(Exception):
    """The budget that the processes of a run share cannot be read or written.

    Its file is gone or damaged, the disk is full, or another process has held it for too long. Nothing was changed.
    This is our fault and not the app's: let its call go out, keep counting in this process, hold that against the
    limits, and log once that processes are not counted together. What settled meanwhile is missing in the file.
    """


class SharedFile:
    """The file, and this process's connection to it. Made with `schema` if it is not there."""

    def __init__(self, path: str, schema: str, *, busy_s: float) -> None:
        self.path = path
        self.busy_s = busy_s
        self._connection: Connection | None = None
        self._pid = 0
        self._identity = (0, 0)
        self._is_at_work = False
        self.lock = RLock()
        if not os.path.exists(path):  # noqa: PTH110 -- pathlib costs 3 ms to import
            self._create(schema)
        with self.lock:
            self._connect()
        _files.add(self)

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Do all of `work`, or nothing. No other process is between its reading and its writing.

        Raises:
            SharedBudgetError: nothing was done.
        """
        return self._do(work, "BEGIN IMMEDIATE")

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` reads, from one moment.

        Raises:
            SharedBudgetError: it cannot be read.
        """
        return self._do(work, "BEGIN")

    def _do(self, work: Callable[[Connection], _T], begin: str) -> _T:
        from sqlite3 import Error  # noqa: PLC0415 -- loaded only where there is such a file

        # Reentrant, because the garbage collector or a signal's handler may come here in the middle of it.
        with self.lock:
            if self._is_at_work:
                raise SharedBudgetError(f"{self.path} was used in the middle of its own work")
            try:
                self._is_at_work = True
                connection = self._connected()
                connection.execute(begin)
                result = work(connection)
                connection.execute("COMMIT")
            except (Error, OSError) as error:
                self._roll_back()
                raise SharedBudgetError(f"{self.path}: {error}") from error
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._is_at_work = False
            return result

    def _connected(self) -> Connection:
        if self._connection is None or self._pid != os.getpid():
            self._connect()
        assert self._connection is not None
        if self._connection.in_transaction:  # an interrupt came while another one was rolled back
            self._connection.execute("ROLLBACK")
        # Without this, what was removed would be written to for ever.
        if _identity(self.path) != self._identity:
            raise SharedBudgetError(f"{self.path} has been replaced")
        return self._connection

    def _roll_back(self) -> None:
        from sqlite3 import Error  # noqa: PLC0415 -- as above

        with suppress(Error):
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _connect(self) -> None:
        identity = _identity(self.path)
        if self._identity not in ((0, 0), identity):
            raise SharedBudgetError(f"{self.path} has been replaced")
        self._connection = _open(self.path, self.busy_s, _SETTINGS)
        # Closed with this object, or when Python ends: else Python warns.
        self._finalize = finalize(self, self._connection.close)
        self._pid, self._identity = os.getpid(), identity

    def _create(self, schema: str) -> None:
        """Make the file, complete before it has its name. Of several processes one is the first."""
        unnamed = f"{self.path}.{new_id()}"
        try:
            # Never opened by its name: to close a file takes away the locks that this process has on it.
            os.close(os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            try:
                connection = _open(unnamed, self.busy_s, f"{_FILLING}; BEGIN; {schema} COMMIT")
                connection.close()
                with suppress(FileExistsError):
                    os.link(unnamed, self.path)
            finally:
                os.unlink(unnamed)  # noqa: PTH108 -- as above
        except OSError as error:
            raise SharedBudgetError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file. Used again, it is connected again."""
        with self.lock:
            if self._connection is not None and self._pid == os.getpid():
                self._finalize()
            self._connection = None

    def forget_connection(self) -> None:
        """Begin again, in a forked child. The parent's connection is left as it is: SQLite's rule."""
        self.lock = RLock()
        self._is_at_work = False
        self._connection = None


def _open(path: str, busy_s: float, first: str) -> Connection:
    """A connection to a file that is there, and for any thread, because we lock. No transactions but our own."""
    from urllib.parse import quote  # noqa: PLC0415 -- as above

    try:
        import sqlite3  # noqa: PLC0415 -- as above
    except ImportError as error:  # a Python that was built without it
        raise SharedBudgetError(f"{path}: {error}") from error
    try:
        connection = sqlite3.connect(
            f"file:{quote(path.replace(os.sep, '/'))}?mode=rw",
            uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        try:
            connection.executescript(first)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise SharedBudgetError(f"{path}: {error}") from error
    return connection


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 -- as above
    except OSError as error:
        raise SharedBudgetError(f"{path}: {error}") from error
    return found.st_dev, found.st_ino


_files: WeakSet[SharedFile] = WeakSet()
_held: list[SharedFile] = []
"""Those that a fork waits for: a child would find what another thread has begun, and never its end."""


def _before_fork() -> None:
    _held.extend(each for each in list(_files) if each.lock.acquire(timeout=each.busy_s))


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)


@in_forked_child
def _forked() -> None:
    _held.clear()
    for each in list(_files):
        each.forget_connection()
