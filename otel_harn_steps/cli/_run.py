"""`otel-harn-steps run`: starts the program, waits for it, and shows what it has cost."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

from otel_harn_steps._process import PAUSE, RUN_BUDGET, RUN_ID, RUN_NAME, TERMINAL
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._folder import RunFolder, RunTerms
from otel_harn_steps.cli._kept_records import KeptRecords
from otel_harn_steps.cli._limits import Limits, read_limits
from otel_harn_steps.cli._spent_budget import EXIT_CODE, Finished
from otel_harn_steps.cli._supervisor import end_as, supervise
from otel_harn_steps.config._finding import RUN_FOLDER, find_config
from otel_harn_steps.config._plan import Plan

if TYPE_CHECKING:
    from otel_harn_steps.cli._budget_watch import BudgetWatch
    from otel_harn_steps.cli._terminal import Color

_USAGE_ERROR: Final = 2
_BOOTSTRAP: Final = str(Path(__file__).parent / "bootstrap")
# Any of these in the environment says that spans are wanted somewhere.
_SDK_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_LOGS_EXPORTER",
)


def run(arguments: argparse.Namespace) -> int:
    """Run the program. Returns its exit code; killed by a signal, it takes this process along the same way."""
    command = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not command:
        complain("say what to run, for example: otel-harn-steps run -- python app.py")
        return _USAGE_ERROR
    wanted = _wanted(arguments)
    if wanted is None:
        return _USAGE_ERROR
    executable = shutil.which(command[0])
    if executable is None:
        hint = f"; did you mean: python {command[0]}" if command[0].endswith(".py") else ""
        complain(f"{command[0]} is not a program that can be run{hint}")
        return 126 if Path(command[0]).is_file() else 127
    result = _open_result(arguments.json)
    if result is False:
        return _USAGE_ERROR
    folder = RunFolder.create()
    terms = RunTerms(
        plan=wanted.plan,
        with_sdk=bool(arguments.otlp) or any(map(os.environ.get, _SDK_VARIABLES)),
        run_id=os.urandom(8).hex(),
        run_name=_program_name(command),
        journal=str(folder.journal if wanted.kept is None else wanted.kept.folder),
        budget=wanted.limits or None,
        started_s=time.monotonic(),
    )
    try:
        folder.write(terms)
        watch = _watch(folder, terms, wanted.grace_s)
        begun = partial(_begun, wanted.kept, terms, is_reported=result is not None or not arguments.no_table)
        code = supervise(executable, command, _environment(folder, terms, arguments), begun, watch)
        duration_s = time.monotonic() - terms.started_s
        finished = Finished(code, duration_s, None if watch is None else watch.finish(duration_s))
        try:
            if wanted.kept is not None:
                wanted.kept.end(finished)
            color, is_kept = None if arguments.no_table else arguments.color, wanted.kept is not None
            _report(folder, terms, finished, result, color=color, is_kept=is_kept)
        except OSError:  # a terminal that has hung up: the program's end is ours all the same
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    finally:
        folder.remove()
    return EXIT_CODE if finished.ended_by is not None else end_as(code)


def _begun(kept: KeptRecords | None, terms: RunTerms, *, is_reported: bool) -> None:
    """While the program starts: note that it has begun, and import what is needed at its end."""
    if kept is not None:
        kept.begin(terms)
    if is_reported:
        with suppress(ImportError):  # said at the end
            import otel_harn_steps.cli._outcome  # noqa: PLC0415, F401 -- as said


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line and the configuration want, checked."""

    limits: Limits
    grace_s: float
    plan: Plan
    kept: KeptRecords | None


def _wanted(arguments: argparse.Namespace) -> _Wanted | None:
    """None: something is wrong, and was said."""
    try:
        limits, grace_s = read_limits(arguments)
        plan = _plan(arguments.config)
        if plan is None or not _can_write(arguments.step_records) or not _can_export(arguments.otlp):
            return None
        if arguments.step_records is not None:
            plan = replace(plan, json_lines=str(Path(arguments.step_records).absolute()))
        return _Wanted(limits, grace_s, plan, KeptRecords.of(arguments, plan.records))
    except (OSError, ValueError) as error:
        complain(str(error))
        return None


def _watch(folder: RunFolder, terms: RunTerms, grace_s: float) -> BudgetWatch | None:
    """Looks after the budget of the run. None: nothing is limited.

    Raises:
        SystemExit: the budget cannot be kept.
    """
    if terms.budget is None:
        return None
    from otel_harn_steps._steps.shared_budget import (  # noqa: PLC0415 -- only where there is a limit
        SharedBudget,
        SharedBudgetError,
    )
    from otel_harn_steps.cli._budget_watch import BudgetWatch  # noqa: PLC0415 -- as above

    try:
        budget = SharedBudget(folder.budget)
    except SharedBudgetError as error:
        complain(f"nothing was started, because its budget cannot be kept: {error}")
        raise SystemExit(_USAGE_ERROR) from None
    return BudgetWatch(budget, terms.budget, started_s=terms.started_s, grace_s=grace_s)


def _plan(given: str | None) -> Plan | None:
    path = find_config(given)
    if path is None:
        return Plan()
    try:
        from otel_harn_steps.config._loading import load  # noqa: PLC0415 -- pydantic: only where there is a file
    except ModuleNotFoundError as error:
        complain(f"reading {path} needs {error.name}: pip install 'otel-harn-steps[config]'")
        return None
    loaded = load(path)
    for problem in loaded.problems:
        complain(str(problem))
    if loaded.problems and (loaded.strict is not False or not loaded.was_read):
        hint = ". With strict = false in the file, its mistakes are left out and logged" if loaded.was_read else ""
        complain(f"nothing was started{hint}")
        return None
    return loaded.plan


def _open_result(path: str | None) -> TextIO | Literal[False] | None:
    """The file of `--json`, open before the program starts, so that an old result is gone whatever happens."""
    if path is None:
        return None
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        complain(f"--json {path}: {error.strerror}")
        return False


def _can_write(records: str | None) -> bool:
    if records is None:
        return True
    try:
        # As the sink does: for its owner alone.
        os.close(os.open(records, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        complain(f"--step-records {records}: {error.strerror}")
        return False
    return True


def _can_export(otlp: str | None) -> bool:
    if otlp is None:
        return True
    if not otlp.startswith(("http://", "https://")):
        complain(f"--otlp must be a URL such as http://localhost:4318, not {otlp!r}")
        return False
    for module in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        if not _is_installed(module):
            complain(f"--otlp needs {module}: pip install 'otel-harn-steps[otlp]'")
            return False
    return True


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _environment(folder: RunFolder, terms: RunTerms, arguments: argparse.Namespace) -> dict[str, str]:
    environment = dict(os.environ)
    environment[RUN_FOLDER] = str(folder.path)
    environment[RUN_ID], environment[RUN_NAME] = terms.run_id, terms.run_name
    environment.pop(RUN_BUDGET, None)
    if terms.budget is not None:
        from otel_harn_steps._steps.run_budget import budget_text  # noqa: PLC0415 -- only where there is a limit

        environment[RUN_BUDGET] = budget_text(dict(terms.budget), str(folder.budget), terms.started_s)
    if sys.stdin.isatty() and sys.stderr.isatty() and os.name == "posix":  # somebody can be asked there
        environment.setdefault(PAUSE, TERMINAL)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (_BOOTSTRAP, environment.get("PYTHONPATH"))))
    if arguments.otlp is not None:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = arguments.otlp
        environment.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        environment.setdefault("OTEL_TRACES_EXPORTER", "otlp")
        environment.setdefault("OTEL_METRICS_EXPORTER", "otlp" if terms.plan.options.get("metrics", True) else "none")
        environment.setdefault("OTEL_LOGS_EXPORTER", "otlp" if terms.plan.log_events else "none")
    if "service.name=" not in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        environment.setdefault("OTEL_SERVICE_NAME", Path(terms.run_name).stem)
    return environment


def _program_name(command: list[str]) -> str:
    """What the program is called: the script, the module, or else the executable. Never its arguments."""
    words = iter(command[1:]) if Path(command[0]).name.startswith("python") else iter(())
    for word in words:
        if word in ("-m", "-c"):
            return next(words, word) if word == "-m" else "python"
        if not word.startswith("-"):
            return Path(word).name
    return Path(command[0]).name


def _report(
    folder: RunFolder, terms: RunTerms, finished: Finished, result: TextIO | None, *, color: Color | None, is_kept: bool
) -> None:
    """On stderr: stdout is the program's. No table where `color` is None."""
    sys.stdout.flush()
    summary = None
    if result is not None or color is not None:
        from otel_harn_steps.cli._outcome import read_journals, write_result  # noqa: PLC0415 -- after the app

        summary = read_journals(terms)
        if result is not None:
            write_result(result, terms, finished, summary)
    seen = folder.seen()
    for number, step in enumerate(terms.plan.steps):
        if number not in seen:
            complain(step.never_appeared())
    for line in folder.elsewhere():
        complain(f"no steps in a Python that cannot import otel_harn_steps: {line}")
    for message in folder.messages():
        complain(message)
    if color is not None and summary is not None:
        from otel_harn_steps.cli._outcome import print_table  # noqa: PLC0415 -- as above

        print_table(terms, finished, summary, color, is_kept=is_kept)
