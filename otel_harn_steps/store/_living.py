"""Whether a process that wrote a journal is still there."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_SLACK_S: Final = 60.0
_ENDED: Final = float("inf")


def is_living(process_id: int | None, started_at: int | None) -> bool:
    """Whether a process is there that was there at `started_at`, in nanoseconds since the epoch.

    Another one that was given its number later is not the one that is meant.
    """
    if process_id is None or process_id <= 0:
        return False
    if os.name == "posix":
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):  # somebody else's, so not the one that wrote into this folder
            return False
    begun_s = _begun_s(process_id)
    if begun_s == _ENDED:
        return False
    return begun_s is None or started_at is None or begun_s <= started_at / 1e9 + _SLACK_S


def _begun_s(process_id: int) -> float | None:
    """When a process has begun, in seconds since the epoch. `_ENDED`: it is gone. None: this system does not say."""
    with suppress(OSError, ValueError, IndexError):
        # After the program's name, which may have spaces and brackets. Times are in ticks since the machine's start.
        values = (
            Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        if values[0] == "Z":  # it has ended, and its parent has not asked how
            return _ENDED
        machine_began_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return machine_began_s + int(values[19]) / os.sysconf("SC_CLK_TCK")
    return None


class Living:
    """Remembers which processes were still there: each is asked about once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int | None, int | None], bool] = {}

    def has(self, process_id: int | None, started_at: int | None) -> bool:
        """As `is_living`."""
        key = (process_id, started_at)
        if key not in self._known:
            self._known[key] = is_living(process_id, started_at)
        return self._known[key]
