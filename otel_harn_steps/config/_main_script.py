"""Steps in the program itself: what `python app.py` and `python -m app` run is called `__main__` and is imported by
no one, so that no import hook ever sees its functions.

Before Python runs a script, it asks `sys.path_hooks` whether the file is something to import from, as a zip file is.
Where a script has targets we say yes, and hand over its code with the steps' decorators in place, each on the line of
its function. The other ways into a main module go through `runpy`. A script without targets is run by Python as ever.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, TypeVar

import wrapt

from otel_harn_steps._guard import guard
from otel_harn_steps.config._plan import PlannedStep
from otel_harn_steps.config._targets import Targets, fits

_NAME: Final = "__harn_steps__"
"""Where the decorators find us: a builtin, so that the app's own names stay as they are."""

_MAIN_NAMES: Final = ("__main__", "__mp_main__")  # the second is what multiprocessing calls it in a spawned child
_T = TypeVar("_T")


def watch_main(targets: Targets) -> None:
    """Wrap the targets that the main module of this process has, if it has not begun to run."""
    if not targets.steps or hasattr(sys.modules["__main__"], "__file__"):
        return
    setattr(builtins, _NAME, _Decorators(targets))
    sys.path_hooks.insert(0, functools.partial(_ScriptFinder, targets))
    wrapt.register_post_import_hook(functools.partial(_patch_runpy, targets), "runpy")


class _Decorators:
    """What the decorators in a main module call."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    def __call__(self, number: int, name: str) -> Callable[[_T], _T]:
        return lambda found: self._targets.wrap(number, name, found)

    def as_script(self, path: str) -> None:
        """Let `__main__` look as it does where Python runs a script: as a file, not as a module with a spec."""
        main = sys.modules["__main__"]
        main.__file__ = path
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)


class _ScriptFinder:
    """Finds `__main__` in a script that has targets."""

    def __init__(self, targets: Targets, path: str) -> None:
        if hasattr(sys.modules.get("__main__"), "__file__") or not Path(path).is_file():
            raise ImportError
        code = None
        with guard(f"reading {path}"):
            code = _with_steps(targets, path, None, is_script=True)
        if code is None:
            raise ImportError
        self._path = path
        self._code = code

    def find_spec(self, name: str, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != "__main__":
            return None
        return importlib.util.spec_from_loader(name, self)  # type: ignore[arg-type]  # as much of a loader as runpy uses

    def create_module(self, spec: object) -> None:
        """As `exec_module`: what a loader has to have. A main module is not imported."""

    def exec_module(self, module: ModuleType) -> None:
        """Never called."""

    def get_code(self, _name: str) -> CodeType:
        """The script. It is about to run: put its folder where Python would have put it."""
        if sys.flags.safe_path:
            del sys.path[0]
        else:
            sys.path[0] = os.path.dirname(os.path.realpath(self._path))  # noqa: PTH120 -- as Python does it
        return self._code


def _patch_runpy(targets: Targets, runpy: Any) -> None:
    """Let the two functions by which runpy gets at code return it with the steps in it. No frame of ours stays below
    the app's: they have returned when it runs.
    """
    details, from_file = runpy._get_module_details, runpy._get_code_from_file

    @functools.wraps(details)
    def get_module_details(*args: Any, **kwargs: Any) -> Any:
        name, spec, code = details(*args, **kwargs)
        if isinstance(spec.loader, _ScriptFinder):
            return name, None, code
        with guard("adding steps to the main module"):
            code = _with_steps(targets, spec.origin, spec.name) or code
        return name, spec, code

    @functools.wraps(from_file)
    def get_code_from_file(*args: Any, **kwargs: Any) -> Any:
        found = from_file(*args, **kwargs)
        with guard("adding steps to the main module"):
            code = _with_steps(targets, os.fspath(args[-1]), None)
            if code is not None:  # before Python 3.12 the file's name is returned with it
                return (code, *found[1:]) if isinstance(found, tuple) else code
        return found

    runpy._get_module_details = get_module_details
    runpy._get_code_from_file = get_code_from_file


def _with_steps(targets: Targets, path: str | None, module: str | None, *, is_script: bool = False) -> CodeType | None:
    """The code of a main module with the steps in it. None where it has no targets."""
    if path is None:
        return None
    wanted = list(targets.in_order(lambda step: is_of_main(step, path, module)))
    if not wanted:
        return None
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except (OSError, SyntaxError, ValueError):  # Python will say so itself
        return None
    decorated = _Decorating(wanted)
    decorated.visit(tree)
    if not decorated.has_found:
        return None
    if is_script:
        _call_first(tree, "as_script", path)
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def is_of_main(step: PlannedStep, path: str, module: str | None) -> bool:
    """Whether the step's module is the one that runs from `path`, as `module` where it was started by a name."""
    if step.module in ("__main__", module):
        return True
    if module is not None or not path.endswith(".py"):
        return False
    parts = step.module.split(".")
    return list(Path(path).resolve().with_suffix("").parts[-len(parts) :]) == parts


class _Decorating(ast.NodeTransformer):
    """Puts the steps' decorators on the functions of a module and of its classes."""

    def __init__(self, wanted: Sequence[tuple[int, PlannedStep]]) -> None:
        self._wanted = wanted
        self._path: tuple[str, ...] = ()
        self.has_found = False

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Look into a class."""
        outer, self._path = self._path, (*self._path, node.name)
        self.generic_visit(node)
        self._path = outer
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Decorate a function, if it is a target. What is inside of it cannot be reached."""
        return self._decorated(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        """As `visit_FunctionDef`."""
        return self._decorated(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        """Leave it."""
        return node

    def _decorated(self, node: _Function) -> _Function:
        path = (*self._path, node.name)
        for number, step in self._wanted:
            if _is_target(step, path):
                call = ast.Call(ast.Name(_NAME, ast.Load()), [ast.Constant(number), ast.Constant(node.name)], [])
                first = node.decorator_list[0] if node.decorator_list else node
                for each in ast.walk(call):
                    if isinstance(each, ast.expr):
                        each.lineno = each.end_lineno = first.lineno
                        each.col_offset = each.end_col_offset = first.col_offset
                node.decorator_list.insert(0, call)
                self.has_found = True
                break
        return node


_Function = TypeVar("_Function", ast.FunctionDef, ast.AsyncFunctionDef)


def _is_target(step: PlannedStep, path: tuple[str, ...]) -> bool:
    if not step.is_pattern:
        return step.pattern == ".".join(path)
    patterns = step.pattern.split(".")
    return len(patterns) == len(path) and all(map(fits, path, patterns))


def _call_first(tree: ast.Module, method: str, argument: str) -> None:
    """Begin the module, after its docstring and `from __future__`, with a call to us."""
    at = 0
    for statement in tree.body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not is_text and not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
            break
        at += 1
    function = ast.Attribute(ast.Name(_NAME, ast.Load()), method, ast.Load())
    call = ast.Expr(ast.Call(function, [ast.Constant(argument)], []))
    tree.body.insert(at, ast.copy_location(call, tree.body[at] if at < len(tree.body) else tree.body[-1]))
