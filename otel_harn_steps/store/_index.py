"""The index: what the journals of a folder hold, in SQLite, and how far they have been read.

It may be deleted at any time, and is made again. What has been read is read no second time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from otel_harn_steps._version import __version__
from otel_harn_steps.store import _lines
from otel_harn_steps.store._batch import Batch, FileState, Names, NewerFormatError
from otel_harn_steps.store._into_tables import ADD_UP_ALL_RUNS
from otel_harn_steps.store._reading import DamagedLine, JournalVersionError
from otel_harn_steps.store._run_files import SUFFIX, RunFile
from otel_harn_steps.store._schema import APPLICATION_ID, INCOMING, SCHEMA, VERSION

FILE_NAME: Final = "index.sqlite"
_LINES_IN_A_BATCH: Final = 60_000
_BATCHES_AT_ONCE: Final = 10
_BYTES_AT_ONCE: Final = 8_000_000
_BUSY_S: Final = 60.0
_CACHE_KB: Final = 64_000


class IndexVersionError(ValueError):
    """The index was made by a newer version of the package."""


class _OutdatedError(Exception):
    """The index does not fit its folder any more: it is to be made anew."""


class Index:
    """The index of a folder.

    Args:
        folder: of the journals. It may not be there yet.

    Raises:
        IndexVersionError: a newer version of the package has made it.
        OSError, sqlite3.Error: it can be neither read nor made anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._database = self._open()

    @property
    def database(self) -> sqlite3.Connection:
        """The connection. For one thread at a time."""
        return self._database

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def damaged(self) -> list[DamagedLine]:
        """The lines that could not be read."""
        rows = self._database.execute("SELECT file, line, reason FROM damaged ORDER BY file, line")
        return [DamagedLine(self._folder / file, line, reason) for file, line, reason in rows]

    def update(self) -> bool:
        """Read what is new. Returns whether anything was.

        Raises:
            JournalVersionError: a file is of a newer version than this package can read.
            OSError: a file cannot be read.
        """
        try:
            return self._update()
        except (_OutdatedError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise
            self._begin_anew()
            return self._update()

    # -- opening -------------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise
            return self._in_memory()
        except OSError:  # a folder that is read-only, or not there yet
            return self._in_memory()
        except sqlite3.DatabaseError:  # no database, or a damaged one
            self._remove()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if not self._folder.is_dir():
            raise FileNotFoundError(self._folder)
        # For its owner alone, as the journals. SQLite gives the files beside it the same mode.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return self._prepare(database)
        except BaseException:
            database.close()
            raise

    def _in_memory(self) -> sqlite3.Connection:
        return self._prepare(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))

    def _prepare(self, database: sqlite3.Connection) -> sqlite3.Connection:
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        database.execute("PRAGMA temp_store = MEMORY")
        if not self._fits(database):
            with _transaction(database):
                if not self._fits(database):  # another has made it meanwhile
                    _make_tables(database)
        for statement in _statements(INCOMING):
            database.execute(statement)
        return database

    def _fits(self, database: sqlite3.Connection) -> bool:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        if application == APPLICATION_ID and version > VERSION:
            raise IndexVersionError(
                f"{self._path} was made by a newer otel-harn-steps (tables {version}; {__version__} knows {VERSION}): "
                "upgrade it, or delete the file, which is made again from the journals"
            )
        return bool(application == APPLICATION_ID and version == VERSION)

    def _begin_anew(self) -> None:
        self._database.close()
        self._remove()
        self._database = self._open()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{end}").unlink()

    # -- reading -------------------------------------------------------------------------------------------------------

    def _update(self) -> bool:
        if self._is_current():  # without a lock: most often there is nothing new
            return False
        database, changed = self._database, False
        while True:
            with _transaction(database):  # others wait, and then see what was read here
                more = self._read_some()
                changed = changed or more is not None
            if not more:
                return changed

    def _is_current(self) -> bool:
        files, run_files = self._found()
        known = dict(self._database.execute("SELECT name, offset FROM files"))
        described = dict(self._database.execute("SELECT name, modified_ns FROM run_files"))
        return files == known and run_files == described

    def _found(self) -> tuple[dict[str, int], dict[str, int]]:
        """The journals and their sizes, oldest first, and the descriptions of runs and when they were written."""
        files, run_files = [], {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for each in entries:
                with suppress(FileNotFoundError):
                    if each.name.endswith(".jsonl"):
                        status = each.stat()
                        files.append((status.st_mtime_ns, each.name, status.st_size))
                    elif each.name.endswith(SUFFIX) and not each.name.startswith("."):
                        run_files[each.name] = each.stat().st_mtime_ns
        return {name: size for _, name, size in sorted(files)}, run_files

    def _read_some(self) -> bool | None:
        """Read some batches. Returns whether there may be more; None: there was nothing.

        While one is added up, which SQLite does alone, the next is read.
        """
        database = self._database
        files, run_files = self._found()
        states = {
            name: FileState(number, name, *rest) for number, name, *rest in database.execute("SELECT * FROM files")
        }
        changed = self._forget(states.keys() - files.keys(), states)
        names = Names(database)
        changed = self._describe(names, run_files) or changed
        waiting = self._unread(files, states)
        if not waiting:
            return False if changed else None
        with ThreadPoolExecutor(1, "otel-harn-steps index") as beside:
            added_up: Future[None] | None = None
            for _ in range(_BATCHES_AT_ONCE):
                batch = Batch(names)
                self._read_batch(waiting, batch)
                if added_up is not None:
                    added_up.result()
                batch.put(database)
                added_up = beside.submit(batch.add_up, database)
                if not waiting:
                    break
        if added_up is not None:
            added_up.result()
        return bool(waiting)

    def _unread(self, files: dict[str, int], states: dict[str, FileState]) -> list[FileState]:
        """The files that have more than was read of them, those to be read first at the end."""
        waiting = []
        last = max((each.id for each in states.values()), default=0)
        for name, size in files.items():
            state = states.get(name)
            if state is None:
                last += 1
                state = FileState(last, name)
            elif size < state.offset:
                raise _OutdatedError  # it was written anew
            elif size == state.offset:
                continue
            waiting.append(state)
        waiting.reverse()
        return waiting

    def _read_batch(self, waiting: list[FileState], batch: Batch) -> None:
        """Fill a batch from the files, and take out of the list what has been read of them."""
        room = _LINES_IN_A_BATCH
        while waiting and room > 0:
            state = waiting[-1]
            begin = state.line
            lines, is_at_end = self._whole_lines(state)
            self._add(lines, state, batch)
            if is_at_end:
                waiting.pop()
            room -= state.line - begin
            batch.keep(replace(state))

    def _whole_lines(self, file: FileState) -> tuple[bytes, bool]:
        """What is new in a file up to its last whole line, or some of it; and whether that is all."""
        try:
            opened = (self._folder / file.name).open("rb")
        except FileNotFoundError:  # removed meanwhile
            return b"", True
        with opened:
            left = os.fstat(opened.fileno()).st_size - file.offset
            opened.seek(file.offset)
            read = more = opened.read(min(left, _BYTES_AT_ONCE))
            while more and len(read) < left and b"\n" not in read:  # a line longer than that
                read += (more := opened.read(min(left - len(read), _BYTES_AT_ONCE)))
        return read[: read.rfind(b"\n") + 1], len(read) >= left

    def _add(self, lines: bytes, file: FileState, batch: Batch) -> None:
        """Add lines of a file to the batch."""
        add = batch.add
        file.offset += len(lines)
        try:
            decoded = _lines.decode_all(lines)
            if decoded is not None:
                for each in decoded:
                    file.line += 1
                    add(each, file)
                return
            for line in lines.split(b"\n")[:-1]:
                file.line += 1
                if not line:  # ends a torn one
                    continue
                try:
                    add(_lines.decode(line), file)
                except NewerFormatError:
                    raise
                except ValueError as error:
                    batch.is_damaged(file, str(error))
        except NewerFormatError as error:
            raise JournalVersionError(
                f"{self._folder / file.name} is a journal of version {error}; otel-harn-steps {__version__} "
                "cannot read it: upgrade it"
            ) from None

    def _describe(self, names: Names, found: dict[str, int]) -> bool:
        known = dict(self._database.execute("SELECT name, modified_ns FROM run_files"))
        changed = False
        for name, modified_ns in found.items():
            if known.get(name) == modified_ns:
                continue
            changed = True
            self._database.execute("DELETE FROM damaged WHERE file = ?", (name,))
            self._database.execute("INSERT OR REPLACE INTO run_files VALUES (?, ?)", (name, modified_ns))
            try:
                run = RunFile.read(self._folder / name)
            except JournalVersionError:
                raise
            except (OSError, ValueError) as error:
                self._database.execute("INSERT INTO damaged VALUES (?, 1, ?)", (name, str(error)))
                continue
            number = names.run(run.run_id)
            names.write(self._database)
            self._database.execute(
                "UPDATE runs SET name = ?, program = ?, process_id = ?, started_at = MIN(COALESCE(started_at, ?4), ?4),"
                " ended_at = ?, exit_code = ?, over = ?, limits = ?, source = ?, is_described = 1 WHERE id = ?",
                (
                    run.name, run.program, run.process_id, run.started_at, run.ended_at, run.exit_code, run.over,
                    json.dumps(run.limits), run.source, number,
                ),
            )  # fmt: skip
        for name in known.keys() - found.keys():
            changed = True
            self._database.execute("DELETE FROM run_files WHERE name = ?", (name,))
        return changed

    def _forget(self, gone: set[str], states: dict[str, FileState]) -> bool:
        """Take out the runs whose files are not there any more.

        Raises:
            _OutdatedError: other files of the same runs are still there: what each of them held is not known apart.
        """
        if not gone:
            return False
        execute = self._database.execute
        files = json.dumps([states[name].id for name in gone])
        in_files = "file IN (SELECT value FROM json_each(?1))"
        of_calls, of_steps = (f"SELECT run FROM {table} WHERE {in_files}" for table in ("calls", "steps"))
        own = "SELECT run FROM files WHERE id IN (SELECT value FROM json_each(?1)) AND run IS NOT NULL"
        runs = json.dumps([run for (run,) in execute(f"{of_calls} UNION {of_steps} UNION {own}", (files,))])
        for table in ("calls", "steps"):
            elsewhere = f"run IN (SELECT value FROM json_each(?2)) AND NOT {in_files}"
            if execute(f"SELECT 1 FROM {table} WHERE {elsewhere} LIMIT 1", (files, runs)).fetchone() is not None:
                raise _OutdatedError
        for table in ("calls", "open_calls", "steps", "spend", "notes"):
            execute(f"DELETE FROM {table} WHERE run IN (SELECT value FROM json_each(?))", (runs,))
        for statement in ADD_UP_ALL_RUNS:
            execute(statement)
        execute("DELETE FROM files WHERE id IN (SELECT value FROM json_each(?))", (files,))
        execute("DELETE FROM damaged WHERE file IN (SELECT value FROM json_each(?))", (json.dumps(sorted(gone)),))
        execute(
            "DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))"
            " AND NOT EXISTS (SELECT 1 FROM files WHERE run = runs.id)",
            (runs,),
        )
        return True


def _make_tables(database: sqlite3.Connection) -> None:
    """In place of those of an older version."""
    for name, kind in database.execute(
        "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    ).fetchall():
        database.execute(f'DROP {kind} "{name}"')
    for statement in _statements(SCHEMA):
        database.execute(statement)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that writes: no other writes meanwhile. Nothing of it remains where it raises."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    text = ""
    for line in script.splitlines():
        text += f"{line}\n"
        if sqlite3.complete_statement(text):
            yield text
            text = ""
