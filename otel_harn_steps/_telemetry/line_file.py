"""A file of lines that several threads and processes append to: one `write` a line, no lock on the way, no fsync.

What was written survives a killed process. Lines of several writers do not mix, because the file is opened for
appending and each line goes out in one `write`.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from time import monotonic, sleep
from typing import Final, Protocol
from weakref import WeakSet

from otel_harn_steps._process import in_forked_child

_LOOKS: Final = 5
_LOOK_AGAIN_S: Final = 0.001
_FLAGS: Final = os.O_APPEND | os.O_CREAT | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)


class _Forks(Protocol):
    def after_fork(self) -> None:
        """Begin anew in a forked child, where no other thread is left."""


_forking = WeakSet[_Forks]()


def begin_anew_after_fork(writer: _Forks) -> None:
    """Let `writer` know, as long as it lives, when this process is a forked child's."""
    _forking.add(writer)


@in_forked_child
def _after_fork() -> None:
    for each in list(_forking):
        each.after_fork()


class _OpenFile:
    """A descriptor, closed when its last user is done with it: so nobody writes to one that is closed or reused."""

    __slots__ = ("_descriptor", "_identity", "is_torn", "next_look_s")

    def __init__(self, descriptor: int, *, is_torn: bool) -> None:
        self._descriptor = descriptor
        self._identity = _identity(os.fstat(descriptor))
        self.is_torn = is_torn
        self.next_look_s = 0.0

    def write(self, line: bytes) -> None:
        """Write one whole line.

        Raises:
            OSError: the line is not there, or only a part of it.
        """
        follows_torn = self.is_torn
        rest = b"\n" + line if follows_torn else line
        size = len(rest)
        try:
            # Nearly always once: a short write comes before a full disk.
            while len(rest) > (written := os.write(self._descriptor, rest)):
                rest = rest[written:]
        except BaseException:
            self.is_torn = follows_torn or len(rest) < size
            raise
        if follows_torn:
            self.is_torn = False

    def is_at(self, path: str) -> bool:
        """Whether `path` still leads to this file. A file that was rotated away or removed is not there any more."""
        return self._is_ours() and _identity(os.stat(path)) == self._identity  # noqa: PTH116 -- once a second

    def _is_ours(self) -> bool:
        # A daemon closes every descriptor, and the number may be one of the app's sockets by now.
        try:
            return _identity(os.fstat(self._descriptor)) == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        if self._is_ours():
            os.close(self._descriptor)


class LineFile:
    """Appends lines to a file, which is opened at the first of them.

    A file that was rotated away is noticed within about a second, and opened anew. A forked child opens the file again.

    Args:
        path: the file. Its folder has to be there.
        mode: its permissions, if it does not exist yet.
        header: a line that each new file begins with. A file with a header belongs to one process.
        look_every_s: how often to look whether the file is still there, at most.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: int = 0o600, *, header: str | None = None, look_every_s: float = 1.0
    ) -> None:
        self.path: Final = os.fspath(path)
        self._mode = mode
        self._header = header
        self._look_every_s = look_every_s
        self._file: _OpenFile | None = None
        # Held while a file is opened or closed, and not while a line is written. Reentrant: the garbage collector may
        # end a step in the middle of that.
        self._lock = threading.RLock()
        begin_anew_after_fork(self)

    def open(self) -> None:
        """Open the file now, if it is not open.

        Raises:
            OSError: it cannot be opened, or its header cannot be written.
        """
        self._opened()

    def append(self, line: str) -> None:
        """Write `line`, which has no newline, and a newline. A lone surrogate is written as the escape JSON has for it.

        Raises:
            OSError: it cannot be written. The next line is tried again.
        """
        file = self._file or self._opened()
        now_s = monotonic()
        if now_s >= file.next_look_s:
            file = self._look(file, now_s)
        try:
            file.write(_encoded(line))
        except OSError:
            file.next_look_s = 0.0
            raise

    def close(self) -> None:
        """Close the file, once no thread is writing to it any more. The next line opens it again."""
        with self._lock:
            self._file = None

    def after_fork(self) -> None:
        """Begin anew in a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()
        self._file = None

    def _opened(self) -> _OpenFile:
        with self._lock:
            if self._file is None:
                file = _open(self.path, self._mode, self._header)
                file.next_look_s = monotonic() + self._look_every_s
                self._file = file
            return self._file

    def _look(self, file: _OpenFile, now_s: float) -> _OpenFile:
        file.next_look_s = now_s + self._look_every_s
        with suppress(OSError):
            if file.is_at(self.path):
                return file
        with self._lock:
            if self._file is file:
                self._file = None
        return self._opened()


def _open(path: str, mode: int, header: str | None) -> _OpenFile:
    descriptor = os.open(path, _FLAGS, mode)
    try:
        size = os.fstat(descriptor).st_size
        file = _OpenFile(descriptor, is_torn=_ends_torn(path, size))
    except BaseException:
        os.close(descriptor)
        raise
    if header is not None and size == 0:
        try:
            file.write(_encoded(header))
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)  # so that the next one to open it begins with a whole header
            raise
    return file


def _ends_torn(path: str, size: int) -> bool:
    """Whether a file was left in the middle of a line, by a process that was killed or found the disk full.

    A line that another process is writing at this moment may be seen in part, too: that one is whole soon.
    """
    if size == 0:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # ours to write, and not to read
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        for look in range(_LOOKS):
            if look:
                sleep(_LOOK_AGAIN_S)
            os.lseek(descriptor, -1, os.SEEK_END)
            if os.read(descriptor, 1) in (b"\n", b""):
                return False
        return True
    finally:
        os.close(descriptor)


def _encoded(line: str) -> bytes:
    return (line + "\n").encode(errors="backslashreplace")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
