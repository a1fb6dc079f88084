"""The rooms of `docs/architecture.md`: imports point down, the wings never meet, and importing stays cheap."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from otel_harn_steps._clients import LIBRARIES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "otel_harn_steps"

ROOMS = (
    "_version",
    "_arguments",
    "_process",
    "_guard",
    "_settings",
    "_cost",
    "_telemetry",
    "_steps",
    "_patching",
    "_calls",
    "_clients",
    "frameworks",
    "_instrument",
    "config",
    "store",
    "page",
    "cli",
    "notebook",
    "dashboard",
    "testing",
)
"""Each room imports only from itself and from those before it."""

DOORS = ("__init__", "providers")
"""The public names, from whatever room they are in. No room imports them."""


def module_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    return module.partition(".")[0]


def name_of(file: Path) -> str:
    """`_providers.openai` of `otel_harn_steps/_clients/openai.py`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(file) for file in module_files()}


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST, *, at_import_only: bool) -> Iterator[ast.AST]:
    """Every node below; or those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if at_import_only and is_for_types_only(node):
            yield from (each for branch in node.orelse for each in (branch, *nodes(branch, at_import_only=True)))
        elif not (at_import_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            yield node
            yield from nodes(node, at_import_only=at_import_only)


def imports_of(file: Path, *, at_import_only: bool = False) -> set[str]:
    """The modules of the package that a file imports; also lazily and for types alone, unless asked not to."""
    found = set()
    for node in nodes(ast.parse(file.read_text(encoding="utf-8")), at_import_only=at_import_only):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: a relative import hides which room it reaches"
            found |= {module_named(f"{node.module}.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {module_named(alias.name) for alias in node.names}
    return found - {None}


def module_named(imported: str) -> str | None:
    """The module of the package that `imported` is, or is a name of. None where it is of somebody else."""
    package, _, name = imported.partition(".")
    if package != "otel_harn_steps":
        return None
    return name if name in MODULES else name.rpartition(".")[0] or "__init__"


def test_every_module_has_a_room():
    assert {room_of(name) for name in MODULES} == {*ROOMS, *DOORS}


def test_the_picture_in_the_docs_names_every_module():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = page.partition("```text")[2].partition("```")[0]
    named = set(re.findall(r"(?<![\w/])_\w+|(?<!\S)\w+(?=/ )", picture)) - {"_shared"}
    assert {*ROOMS, *DOORS} == set(named)


@pytest.mark.parametrize("file", [file for file in module_files() if name_of(file) not in DOORS], ids=name_of)
def test_imports_point_down(file):
    room = room_of(name_of(file))
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    reached = {module: room_of(module) for module in imports_of(file)}
    assert {module: other for module, other in reached.items() if other not in allowed} == {}


def test_no_module_imports_itself_by_way_of_others():
    files = {name_of(file): file for file in module_files()}
    graph = {name: imports_of(file, at_import_only=True) - {name} for name, file in files.items()}
    TopologicalSorter(graph).prepare()  # raises on a cycle, and names it


def loaded_by(*statements: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after the statements."""
    program = "\n".join((*statements, "import sys", "print(*sys.modules)"))
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    return set(ran.stdout.split())


@pytest.fixture(scope="module")
def loaded_by_python():
    """What a bare interpreter loads; where coverage is measured, what measuring needs."""
    return loaded_by()


@pytest.fixture(scope="module")
def loaded_by_import(loaded_by_python):
    """The modules that importing the package loads, beyond a bare interpreter's."""
    return loaded_by("import otel_harn_steps") - loaded_by_python


def test_importing_loads_no_third_party_module_beyond_the_api(loaded_by_import):
    by_the_api = {name.partition(".")[0] for name in loaded_by("import opentelemetry.trace, wrapt")}
    ours = {name.partition(".")[0] for name in loaded_by_import} - set(sys.stdlib_module_names)
    assert ours - by_the_api <= {"otel_harn_steps"}


HEAVY = {
    "asyncio", "decimal", "genai_prices", "importlib.metadata", "msgspec", "openai", "opentelemetry.instrumentation",
    "opentelemetry.metrics", "opentelemetry.sdk", "pydantic", "rich", "sqlite3", "ssl", "wrapt",
}  # fmt: skip
"""What takes long to import, and is not needed before the first client or the first step."""
WITH_THE_FIRST_CALL = {"_calls.engine", "_calls.meter", "_clients.openai", "_cost.price_book", "_steps.active"}


def test_importing_leaves_out_everything_until_it_is_used(loaded_by_import):
    assert {name for name in loaded_by_import if name.startswith("otel_harn_steps.")} == {"otel_harn_steps._version"}


def test_instrumenting_leaves_out_what_the_first_client_or_step_needs(loaded_by_python):
    loaded = loaded_by("import otel_harn_steps", "otel_harn_steps.instrument()") - loaded_by_python
    assert loaded & HEAVY == set()
    assert loaded & {f"otel_harn_steps.{name}" for name in WITH_THE_FIRST_CALL} == set()


def test_run_leaves_out_what_is_not_needed_before_the_program_starts(tmp_path, loaded_by_python):
    """In the command, until the program starts; and in a process below it."""
    program = "import sys; print(*sys.modules)"
    folder = ["--records", str(tmp_path)]
    command = [sys.executable, "-m", "otel_harn_steps.cli", "run", "--no-table", *folder, "--", sys.executable, "-c"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    below = set(ran.stdout.split()) - loaded_by_python
    assert "otel_harn_steps.cli._child" in below
    assert below & HEAVY == set()
    assert below & {f"otel_harn_steps.{name}" for name in WITH_THE_FIRST_CALL} == set()
    above = loaded_by("from otel_harn_steps.cli import _command, _run", "_command.make_parser(only_run=True)")
    assert (above - loaded_by_python) & (HEAVY | {"opentelemetry.context"}) == set()


def test_a_client_library_is_known_by_the_packages_that_its_patched_modules_are_in():
    for name, library in LIBRARIES.items():
        modules = [seam.module for adapter in library.load() for seam in adapter.seams]
        packages = tuple(f"{package}." for package in library.packages)
        assert modules, name
        assert [module for module in modules if not f"{module}.".startswith(packages)] == []


@pytest.mark.parametrize("module", ["genai_prices", "pydantic", "openai", "anthropic"])
def test_instrumenting_imports_neither_clients_nor_prices(module):
    assert module not in loaded_by("import otel_harn_steps", "otel_harn_steps.instrument()")


def test_test_modules_import_helpers_and_never_each_other_or_a_conftest():
    found = {}
    for file in (ROOT / "tests").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        imported = re.findall(r"^\s*(?:from|import) (tests(?:\.\w+)*\.(?:test_\w+|conftest))\b", text, re.MULTILINE)
        if imported:
            found[str(file.relative_to(ROOT))] = imported
    assert found == {}
