"""Whose a lease is: a process, known by its id and its start, because ids are given out again."""

from __future__ import annotations

import os
from typing import NamedTuple


class Owner(NamedTuple):
    """A process.

    Attributes:
        pid: its id.
        started: when it started, in the kernel's ticks. Empty where there is no /proc.
        namespace: in which namespace its id counts. Empty where there is none.
    """

    pid: int
    started: str
    namespace: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        _, started = _state_and_start(pid) or ("", "")
        return cls(pid, started, _namespace())

    @classmethod
    def of(cls, text: str) -> Owner:
        """The owner that `to_text` wrote.

        Raises:
            ValueError: it did not write this.
        """
        pid, started, namespace = text.split(" ")
        return cls(int(pid), started, namespace)

    def to_text(self) -> str:
        """The owner in one text."""
        return f"{self.pid} {self.started} {self.namespace}"

    def is_alive(self) -> bool:
        """Whether the process may yet settle what it has reserved. True where nobody can say."""
        if self.namespace != _namespace():
            return True
        found = _state_and_start(self.pid)
        if found is not None:
            state, started = found
            # A zombie is as dead as one that its parent has waited for.
            return state not in "ZX" and started == self.started
        return _can_be_signalled(self.pid)


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """The process's state and start, from /proc. None: there is none, or it is hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 -- pathlib costs 3 ms to import
            # The program's name comes before, in parentheses, and may have anything in it.
            fields = file.read().decode(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 -- as above
    except (OSError, AttributeError):
        return ""


def _can_be_signalled(pid: int) -> bool:
    if os.name != "posix":  # elsewhere a signal 0 is none that only asks
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
