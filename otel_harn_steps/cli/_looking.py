"""Whether a target is there, from the source alone: importing an app runs it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

from otel_harn_steps._arguments import did_you_mean
from otel_harn_steps.config._plan import PlannedStep
from otel_harn_steps.config._targets import fits

Verdict = Literal["found", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a target."""

    verdict: Verdict
    text: str


def look_for(step: PlannedStep) -> Sight:
    """Look for the target of `step` in the source of its module, without importing anything."""
    if not step.target:
        return Sight("unknown", "is a framework's step, which only a run has")
    if step.module == "__main__":
        return Sight("unknown", "is in the program itself, which only a run has")
    try:
        spec = _spec(step.module)
    except (ImportError, ValueError, AttributeError) as error:
        return Sight("missing", str(error))
    if spec.origin is None or not spec.origin.endswith(".py"):
        return Sight("unknown", f"{step.module} has no source to look at; use --import")
    try:
        tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    except (OSError, SyntaxError) as error:
        return Sight("missing", f"{spec.origin} cannot be read: {error}")
    return _look_in(tree, step, spec.origin)


def _spec(module: str) -> ModuleSpec:
    """Where a module is. Its packages are looked into, not imported."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    name = top
    for part in rest:
        if spec is not None and spec.submodule_search_locations is None:
            raise ImportError(f"{name} is a module and no package, so there is no {module}")
        if spec is None:
            break
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations or ()))
    if spec is None:
        raise ImportError(f"there is no module {name}; was it meant to be found in another folder (--path)?")
    return spec


def _look_in(tree: ast.Module, step: PlannedStep, file: str) -> Sight:
    functions = dict(_functions(tree.body, ()))
    path = tuple(step.pattern.split("."))
    if step.is_pattern:
        found = [each for each in functions if len(each) == len(path) and all(map(fits, each, path))]
        names = ", ".join(".".join(each) for each in found)
        return Sight("found", names) if found else Sight("missing", f"no function in {file} fits {step.pattern!r}")
    if path in functions:
        return Sight("found", f"{file}:{functions[path]}")
    return _look_closer(tree, step, file, functions)


def _look_closer(tree: ast.Module, step: PlannedStep, file: str, functions: Mapping[tuple[str, ...], int]) -> Sight:
    path = tuple(step.pattern.split("."))
    if path[0] in _bound_otherwise(tree) or "*" in _bound_otherwise(tree):
        return Sight("unknown", f"{path[0]} is made or imported in {file}; --import shows what it is")
    classes = dict(_classes(tree.body, ()))
    if path in classes:
        return Sight("missing", f"{step.pattern} is a class; name the method that does the work")
    if len(path) > 1 and path[:-1] in classes and classes[path[:-1]]:
        return Sight("unknown", f"{'.'.join(path[:-1])} may inherit {path[-1]}; --import shows whether it does")
    hint = did_you_mean(step.pattern, [".".join(each) for each in functions])
    return Sight("missing", f"{file} has no {step.pattern!r}{hint}")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those in its `if`, `try` and `with` blocks: they bind names of the same scope."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for each in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, each, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)


def _functions(body: list[ast.stmt], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for each in _statements(body):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (*path, each.name), each.lineno
        elif isinstance(each, ast.ClassDef):
            yield from _functions(each.body, (*path, each.name))


def _classes(body: list[ast.stmt], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The classes, and whether they have bases."""
    for each in _statements(body):
        if isinstance(each, ast.ClassDef):
            yield (*path, each.name), bool(each.bases)
            yield from _classes(each.body, (*path, each.name))


def _bound_otherwise(tree: ast.Module) -> set[str]:
    """Names that a module binds by other means than `def` and `class`; "*" where that cannot be known."""
    names = set()
    for each in _statements(tree.body):
        if isinstance(each, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in each.names}
        elif isinstance(each, (ast.Assign, ast.AnnAssign)):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(each, ast.FunctionDef) and each.name == "__getattr__":
            names.add("*")
    return names
