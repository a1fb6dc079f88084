"""What a process below `otel-harn-steps run` does before the app begins."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._clients import LIBRARIES
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.unseen_counts import watch_unseen
from otel_harn_steps._patching.imports import when_imported
from otel_harn_steps._patching.patcher import is_patched
from otel_harn_steps._telemetry.exporting import tracer_provider
from otel_harn_steps._telemetry.journal import Journal
from otel_harn_steps.cli._folder import RunFolder, RunTerms
from otel_harn_steps.cli._notes import CLIENT_PATCHED, CLIENT_UNPATCHED, STARTED, UNSEEN_CALL
from otel_harn_steps.config._finding import RUN_FOLDER
from otel_harn_steps.config._starting import start

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import ClientAdapter

# Nobody has chosen what the program is made of: a run looks at all of it, unless the file says otherwise.
_ON_IN_A_RUN: Final = {"threads": True, "unseen_calls": True}
_joined_with: Any = "no run"
"""The tracer provider that this process had when it joined. None: it had none."""
_journal: Journal | None = None


def join(**providers: Any) -> None:
    """Take part in the run. Called again, with an SDK that was not there before, it does so with that."""
    global _joined_with  # noqa: PLW0603 -- the one place that sets it
    path = os.environ.get(RUN_FOLDER)
    if not path or _joined_with is tracer_provider():
        return
    with guard("joining otel-harn-steps run"):
        folder = RunFolder(Path(path))
        terms = folder.read()
        if terms.with_sdk:
            from otel_harn_steps.cli._sdk import set_up_sdk  # noqa: PLC0415 -- costs most of the start, where wanted

            set_up_sdk()
        plan = replace(terms.plan, options={**_ON_IN_A_RUN, **terms.plan.options})
        _joined_with = tracer_provider()
        _keep_messages(folder)
        start(plan, sinks=(_journal_of(terms),), on_seen=folder.note_seen, **providers)
        _note_start()


class _Messages(logging.Handler):
    """Our warnings, kept for the command to print. Where the app has no logging of its own, Python would print them."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message. A folder that is gone, because the command has ended, takes none."""
        with suppress(OSError):
            self._folder.note_message(record.getMessage())


def _keep_messages(folder: RunFolder) -> None:
    logger = logging.getLogger("otel_harn_steps")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages(folder))


def journal() -> Journal | None:
    """The journal of this process. None: it takes no part in a run."""
    return _journal


def _journal_of(terms: RunTerms) -> Journal:
    global _journal  # noqa: PLW0603 -- the one place that sets it
    if _journal is None:
        _journal = Journal(terms.journal, run_id=terms.run_id, run_name=terms.run_name)
    return _journal


@cache
def _note_start() -> None:
    """Note once that this process is here, and which client libraries it imports: what is not seen is explained so."""
    _note(STARTED)
    watch_unseen(lambda host, library: _note(UNSEEN_CALL, host=host, library=library))
    for name, library in LIBRARIES.items():
        for package in library.packages:
            when_imported(package, partial(_watch_client, name))


def _watch_client(name: str, _package: object) -> None:
    with guard("watching a client library"):
        for adapter in LIBRARIES[name].load():
            for module in dict.fromkeys(seam.module for seam in adapter.seams):
                when_imported(module, partial(_note_client, name, adapter, module))


def _note_client(name: str, adapter: ClientAdapter, module: str, _module: object) -> None:
    targets = [seam.target for seam in adapter.seams if seam.module == module]
    patched = any(is_patched(sys.modules[module], target) for target in targets)
    _note(CLIENT_PATCHED if patched else CLIENT_UNPATCHED, client=name, module=module)


def _note(event: str, **facts: str) -> None:
    with guard("noting a fact in the journal", ours=False):
        if _journal is not None:
            _journal.note(event, **facts)
