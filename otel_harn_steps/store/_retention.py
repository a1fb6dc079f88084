"""How long the records of runs are kept: by age, and by how much room they take together."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otel_harn_steps.store._run_files import IMPORTED, SUFFIX

DEFAULT_KEEP_DAYS: Final = 90.0
DEFAULT_KEEP_MIB: Final = 1024.0
_S_PER_DAY: Final = 86_400
_BYTES_PER_MIB: Final = 1 << 20
_MAY_BE_AT_WORK_S: Final = _S_PER_DAY


@dataclass(slots=True)
class _Files:
    """The files of one run."""

    paths: list[Path] = field(default_factory=list)
    size: int = 0
    modified_s: float = 0.0


def remove_old_runs(
    folder: Path, *, keep_days: float = DEFAULT_KEEP_DAYS, keep_mib: float = DEFAULT_KEEP_MIB
) -> list[str]:
    """Remove the runs that were written to last longer ago than `keep_days`, and the oldest ones above `keep_mib`.

    A run goes whole or not at all. One that was written to within a day may still be at work, and stays. Files of
    other names are nobody's business here.

    Returns:
        What the files of the removed runs begin with.

    Raises:
        OSError: the folder cannot be read. A file that cannot be removed stays.
    """
    runs = _runs(folder)
    now_s = time.time()
    room = keep_mib * _BYTES_PER_MIB
    removed = []
    for name, files in sorted(runs.items(), key=lambda each: -each[1].modified_s):  # the newest takes its room first
        age_s = now_s - files.modified_s
        room -= files.size
        if age_s > _MAY_BE_AT_WORK_S and (room < 0 or age_s > keep_days * _S_PER_DAY):
            room += files.size
            removed.append(name)
            for path in files.paths:
                with suppress(OSError):
                    path.unlink()
    return removed


def _runs(folder: Path) -> dict[str, _Files]:
    runs: dict[str, _Files] = {}
    with os.scandir(folder) as entries:
        for each in entries:
            name = _run_of(each.name)
            if name is None:
                continue
            with suppress(FileNotFoundError):
                status = each.stat(follow_symlinks=False)
                files = runs.setdefault(name, _Files())
                files.paths.append(Path(each.path))
                files.size += status.st_size
                files.modified_s = max(files.modified_s, status.st_mtime)
    return runs


def _run_of(name: str) -> str | None:
    """What the names of the run's files begin with. None: it is no file of a run."""
    if name.startswith("."):
        return None
    if name.endswith(SUFFIX):
        return name.removesuffix(SUFFIX)
    parts = name.removesuffix(".jsonl").rsplit("-", 2)
    if not name.endswith(".jsonl") or len(parts) != 3:
        return None
    return parts[0] if parts[1].isdecimal() or parts[1].startswith(IMPORTED) else None
