"""What `run` keeps of a run, for the commands that read it: where its journals go, how it ended, and for how long."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._folder import RunTerms
from otel_harn_steps.cli._reading_options import records_folder
from otel_harn_steps.cli._spent_budget import Finished

if TYPE_CHECKING:
    from otel_harn_steps.store._run_files import RunFile


class KeptRecords:
    """The records of one run, in a folder with those of others.

    Attributes:
        folder: where they are.
    """

    def __init__(self, folder: Path, keep: Mapping[str, float], *, removes: bool) -> None:
        self.folder = folder
        self._keep = keep
        self._removes = removes
        self._file: RunFile | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace, keep: Mapping[str, float]) -> Self | None:
        """As the command line says. None: nothing is kept.

        Args:
            arguments: with `records` and `no_store`.
            keep: `keep_days` and `keep_mib`, where the configuration has them.

        Raises:
            ValueError: the options contradict each other.
            OSError: the folder that was named cannot be made. One that was not named is done without.
        """
        if arguments.no_store:
            if arguments.records is not None:
                raise ValueError("--records and --no-store: say one of them")
            return None
        try:
            folder = records_folder(arguments.records)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except ModuleNotFoundError as error:
            complain(f"the run is not kept: that needs {error.name}: pip install 'otel-harn-steps[cli]'")
            return None
        except OSError as error:
            if arguments.records is not None:
                raise OSError(f"--records {arguments.records}: {_reason(error, folder)}") from None
            complain(f"the run is not kept: {folder}: {error.strerror}")
            return None
        return cls(folder, keep, removes=arguments.records is None or bool(keep))

    def begin(self, terms: RunTerms) -> None:
        """Note that the run has begun."""
        from otel_harn_steps.store._run_files import RunFile  # noqa: PLC0415 -- while the app starts

        self._file = RunFile(
            run_id=terms.run_id,
            name=terms.run_name,
            program=terms.run_name,
            process_id=os.getpid(),
            started_at=time.time_ns(),
            limits=dict(terms.budget or {}),
        )
        self._write(self._file)

    def end(self, finished: Finished) -> None:
        """Note how the run has ended, and remove the runs that have been kept for long enough."""
        if self._file is None:
            return
        over = None if finished.budget is None else finished.budget.sentence()
        self._write(replace(self._file, ended_at=time.time_ns(), exit_code=finished.code, over=over))
        if self._removes:
            from otel_harn_steps.store._retention import remove_old_runs  # noqa: PLC0415 -- after the app

            try:
                remove_old_runs(self.folder, **self._keep)
            except OSError as error:
                complain(f"old records are not removed: {self.folder}: {error.strerror}")

    def _write(self, file: RunFile) -> None:
        try:
            file.write(self.folder)
        except OSError as error:
            complain(f"how the run has ended is not kept: {self.folder}: {error.strerror}")


def _reason(error: OSError, folder: Path) -> str:
    if isinstance(error, FileExistsError):
        return f"{folder} is a file, and not a folder; --step-records FILE writes the record of each step to a file"
    return error.strerror or str(error)
