"""`otel-harn-steps doctor`: what a run would find."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._instrument.clients import patch_clients
from otel_harn_steps._patching.patcher import Patcher, is_patched
from otel_harn_steps._version import __version__
from otel_harn_steps.cli._doctor_records import records_findings
from otel_harn_steps.cli._looking import Sight, look_for
from otel_harn_steps.config._finding import find_config
from otel_harn_steps.config._plan import Plan, PlannedStep
from otel_harn_steps.config._targets import find, why_not
from otel_harn_steps.frameworks._patching import SOURCES

_MARKS: Final = {"found": "ok     ", "missing": "MISSING", "unknown": "unknown"}
_PACKAGES: Final = (
    ("opentelemetry-api", ""),
    ("opentelemetry-sdk", "spans and metrics need it"),
    ("opentelemetry-exporter-otlp-proto-http", "--otlp needs it"),
    ("genai-prices", "calls have no price without it"),
    ("pydantic", "reading a configuration needs it"),
    ("rich", "tables are plain without it"),
    ("msgspec", "reading the records needs it"),
    ("platformdirs", "finding the records needs it"),
    ("shtab", "completion needs it"),
)


def doctor(arguments: argparse.Namespace) -> int:
    """Print the findings. Returns 1 where something is wrong."""
    sys.path[:0] = [*arguments.path, str(Path.cwd())]
    print(f"otel-harn-steps {__version__}, Python {sys.version.split()[0]} ({sys.executable})")
    wrong = 0
    for heading, findings in (
        ("configuration", _configuration(arguments)),
        ("clients", _clients()),
        ("packages", _packages()),
        ("other instrumentations", _others()),
        ("records", records_findings(arguments.records)),
    ):
        print(f"\n{heading}")
        for is_wrong, text in findings:
            wrong += is_wrong
            print(f"  {text}")
    return 1 if wrong else 0


_Findings = Iterator[tuple[bool, str]]


def _configuration(arguments: argparse.Namespace) -> _Findings:
    path = find_config(arguments.config)
    if path is None:
        yield False, "none: no harn-steps.toml and no [tool.otel_harn_steps] in pyproject.toml here"
        return
    try:
        from otel_harn_steps.config._loading import load  # noqa: PLC0415 -- pydantic is an extra
    except ModuleNotFoundError as error:
        yield True, f"{path} needs {error.name}: pip install 'otel-harn-steps[config]'"
        return
    loaded = load(path)
    yield False, f"{path}: {_counted(len(loaded.plan.steps), 'step')}, {_counted(len(loaded.problems), 'mistake')}"
    for problem in loaded.problems:
        yield True, f"MISTAKE {problem}"
    for step in loaded.plan.steps:
        sight = _import_and_look(step) if arguments.imports and step.module not in ("__main__", "") else look_for(step)
        yield sight.verdict == "missing", f"{_MARKS[sight.verdict]} {step.target or repr(step.name)}: {sight.text}"
    yield from _frameworks(loaded.plan)
    yield from _sinks(loaded.plan)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _frameworks(plan: Plan) -> _Findings:
    for name in plan.frameworks:
        try:
            yield False, f"ok      framework {name}: {metadata.version(SOURCES[name].steps.package)}"
        except metadata.PackageNotFoundError:
            yield False, f"-       framework {name}: not installed"


def _sinks(plan: Plan) -> _Findings:
    if plan.json_lines is not None and not Path(plan.json_lines).parent.is_dir():
        yield True, f"MISSING the folder of sinks.json_lines: {plan.json_lines}"


def _import_and_look(step: PlannedStep) -> Sight:
    try:
        module = importlib.import_module(step.module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever the app's modules do when imported
        return Sight("missing", f"importing {step.module} failed: {type(error).__name__}: {error}")
    found = list(find(module, step.pattern))
    if not found:
        return Sight("missing", why_not(module, step.pattern))
    values = [each.value() for each in found]
    if inspect.isclass(values[0]) or not (callable(values[0]) or isinstance(values[0], (classmethod, staticmethod))):
        return Sight("missing", f"is a {type(values[0]).__name__}, not a function or a method")
    return Sight("found", ", ".join(each.path for each in found))


def _clients() -> _Findings:
    patcher = Patcher()
    patch_clients(patcher, ADAPTERS)
    yield from _findings_of_clients()
    patcher.close()


def _findings_of_clients() -> _Findings:
    for provider in ADAPTERS:
        if not any(_is_there(seam.module) for seam in provider.seams):
            yield False, f"-       {provider.name}: not installed"
            continue
        version = _version(provider.name, provider.seams[0].module)
        missing = list(dict.fromkeys(_unpatched(provider)))
        for each in missing:
            yield True, f"MISSING {provider.name} {version}: {each}"
        if not missing:
            yield False, f"ok      {provider.name} {version}: patched"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _version(name: str, module: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        candidates = metadata.packages_distributions().get(module.partition(".")[0], ())
        return metadata.version(candidates[0]) if candidates else "of unknown version"


def _unpatched(provider: ClientAdapter) -> Iterator[str]:
    """The places of a client that a run would not be able to patch.

    A client keeps its calls in other modules in other versions: only those that this version has are looked at.
    """
    there = [seam for seam in provider.seams if not seam.is_optional and _is_there(seam.module)]
    if not there:
        yield "none of the modules that its calls are in is there: its calls are not billed"
    for seam in there:
        try:
            module: Any = importlib.import_module(seam.module)
        except ImportError as error:
            yield f"{seam.module} cannot be imported: {error}"
            continue
        if not is_patched(module, seam.target):
            yield f"{seam.module}.{seam.target} is not there: its calls are not billed"


def _packages() -> _Findings:
    for name, need in _PACKAGES:
        try:
            yield False, f"ok      {name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield False, f"-       {name}: not installed; {need}"


def _others() -> _Findings:
    names = sorted({each.name for each in metadata.entry_points(group="opentelemetry_instrumentor")} - {"harn_steps"})
    yield False, ", ".join(names) or "none"
