"""What `otel-harn-steps run` keeps of a run beside its journals, in `{run id}.run.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._telemetry.journal_lines import VERSION, file_prefix
from otel_harn_steps._version import __version__
from otel_harn_steps.store._reading import JournalVersionError

SUFFIX: Final = ".run.json"
IMPORTED: Final = "import_"
"""What the name of an imported journal has in the place of a process's id, with what it was imported from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A run as the one who started it saw it. Neither the program's arguments nor its environment are in it.

    Attributes:
        name, program: what the run is called, and the base name of its script or module.
        process_id: of the process that started the run. None: it was not started here, but imported.
        started_at, ended_at: nanoseconds since the epoch. `ended_at` None: it has not ended.
        exit_code: the program's, negative for the signal that has killed it.
        over: what has ended it, if that was its budget: `max_usd, $0.4980 of $0.5000`.
        limits: the budget of the run, by the names of a step's; in dollars and seconds.
        source: "journal", or what it was imported from.
    """

    run_id: str
    name: str
    program: str
    started_at: int
    process_id: int | None = None
    ended_at: int | None = None
    exit_code: int | None = None
    over: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    source: str = "journal"
    version: int = VERSION
    package_version: str = __version__

    def write(self, folder: Path) -> None:
        """Write it, in place of an older one: a reader sees the one or the other, whole.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{file_prefix(self.run_id)}{SUFFIX}"
        beside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, ensure_ascii=True)
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise

    @classmethod
    def read(cls, path: Path) -> RunFile:
        """What was written.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no such file; `JournalVersionError`: of a newer version.
        """
        try:
            values = json.loads(path.read_bytes())
            version = values["version"]
        except (ValueError, TypeError, KeyError):
            raise ValueError("is no description of a run") from None
        if isinstance(version, int) and version > VERSION:
            raise JournalVersionError(
                f"{path} is of version {version}; otel-harn-steps {__version__} reads versions up to {VERSION}: "
                "upgrade it"
            )
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        if not _is_right(known):
            raise ValueError("is no description of a run")
        return cls(**known)


_TEXTS: Final = ("run_id", "name", "program", "source", "package_version")
_COUNTS_OR_NULL: Final = ("process_id", "started_at", "ended_at", "exit_code")


def _is_right(values: Mapping[str, Any]) -> bool:
    required = {"run_id", "name", "program", "started_at"} <= values.keys() and isinstance(values["started_at"], int)
    return (
        required
        and all(isinstance(values.get(name, ""), str) for name in _TEXTS)
        and all(isinstance(values.get(name), (int, type(None))) for name in _COUNTS_OR_NULL)
        and all(abs(values.get(name) or 0) < 2**63 for name in _COUNTS_OR_NULL)
        and isinstance(values.get("over"), (str, type(None)))
        and isinstance(values.get("limits", {}), dict)
    )
