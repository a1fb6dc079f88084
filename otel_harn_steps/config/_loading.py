"""From a configuration file to a plan, and every mistake reported."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from otel_harn_steps._settings import FORMER_WORDS
from otel_harn_steps._steps.budget import KEYS, LIMITS
from otel_harn_steps.config._budget_table import BudgetTable
from otel_harn_steps.config._finding import PYPROJECT, SECTION
from otel_harn_steps.config._lines import KeyPath, key_lines
from otel_harn_steps.config._model import (
    INNER_ALLOWED,
    ConfigFile,
    SinksTable,
    StepTable,
)
from otel_harn_steps.config._plan import Plan, PlannedStep
from otel_harn_steps.config._problems import Problem
from otel_harn_steps.config._tables import Allowed, closest, meant_or_known


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that has been read.

    Attributes:
        path: the file.
        plan: what of it is right.
        problems: what is wrong, in the order of the file. Each is left out of the plan.
        strict: what the file says about itself; None where it says nothing.
        was_read: whether there is a file with a table for us. Else nothing of it is in the plan.
    """

    path: Path
    plan: Plan
    problems: tuple[Problem, ...]
    strict: bool | None
    was_read: bool = True


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read the configuration file at `path`."""
    path = Path(path)
    try:
        return _loaded(path)
    except RecursionError:
        return _nothing(path, None, "is nested too deeply to be read")


def _loaded(path: Path) -> Loaded:
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = tomllib.loads(text)
    except OSError as error:
        return _nothing(path, None, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return _nothing(path, path.read_bytes()[: error.start].count(b"\n") + 1, "is not UTF-8, which TOML has to be")
    except tomllib.TOMLDecodeError as error:
        return _nothing(path, *_syntax(str(error), text))
    section: KeyPath = ()
    if path.name == PYPROJECT:
        section = SECTION
        tools = document.get("tool", {})
        document = tools.get(SECTION[-1]) if isinstance(tools, dict) else None
        if document is None:
            near = closest(SECTION[-1], tools) if isinstance(tools, dict) else None
            hint = f"; did you mean it by [tool.{near}]?" if near else ""
            return _nothing(path, None, f"has no [{'.'.join(map(str, SECTION))}]{hint}")
    return _Reading(path, section, key_lines(text)).read(document)


def _nothing(path: Path, line: int | None, text: str) -> Loaded:
    return Loaded(path, Plan(), (Problem(path.name, line, "", None, text),), None, was_read=False)


def _syntax(message: str, text: str) -> tuple[int | None, str]:
    """The line, and what is wrong there, with the line itself: "Invalid value" alone is no help."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
    if found is None:
        return None, f"is not TOML: {message}"
    lines = text.splitlines()
    line = int(found[2]) if found[2] else len(lines)
    what = found[1][:1].lower() + found[1][1:]
    shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    hint = "; a string needs quotes" if re.fullmatch(r"[\w.-]+\s*=\s*[A-Za-z][^\"']*", shown) else ""
    return line, f"is not TOML: {what} in `{shown}`{hint}"


class _Reading:
    """One file on its way: validated, what is wrong taken out, validated again, until the rest is right.

    Validated again because the model holds values against each other only where each by itself is right.
    """

    def __init__(self, path: Path, section: KeyPath, lines: Mapping[KeyPath, int]) -> None:
        self._path = path
        self._section = section
        self._lines = lines
        self._left_out: set[int] = set()  # steps
        self._found: dict[KeyPath, Problem] = {}

    def read(self, document: Any) -> Loaded:
        """Read what tomllib has made of the file, or of our section in it."""
        if not isinstance(document, dict):
            self._note((), document, "must be a table")
            document = {}
        strict = document.get("strict")
        while True:
            try:
                model = ConfigFile.model_validate(document)
            except ValidationError as error:
                wrong = [self._noted(document, each) for each in error.errors(include_url=False)]
                document = copy.deepcopy(document)
                for path in reversed(wrong):  # so that the numbers of what comes before stay right
                    self._take_out(document, *path)
            else:
                break
        steps = self._planned(model.steps, has_frameworks=bool(model.frameworks))
        plan = model.planned(steps, self._json_lines(model.sinks))
        problems = sorted(self._found.values(), key=lambda problem: problem.line or 0)
        return Loaded(self._path, plan, tuple(problems), strict if isinstance(strict, bool) else None)

    def _json_lines(self, sinks: SinksTable) -> str | None:
        if sinks.json_lines is None:
            return None
        return str(self._path.resolve().parent / Path(sinks.json_lines).expanduser())

    def _planned(self, steps: Sequence[StepTable], *, has_frameworks: bool) -> tuple[PlannedStep, ...]:
        first: dict[tuple[str, str | None], int] = {}
        planned = []
        for number, step in enumerate(steps):
            key, value = called = ("name", step.name) if step.target is None else ("target", step.target)
            if called in first:
                other = f"steps[{first[called]}] (line {self._line(('steps', first[called]))})"
                self._note(("steps", number, key), value, f"is the {key} of {other} already")
                continue
            first[called] = number
            if step.target is None and not has_frameworks:
                self._left_out.add(number)
                if not any(path[0] == "frameworks" for path in self._found):  # that says enough
                    needed = f'add frameworks = "auto", or a target: {_allowed(("steps", number, "target"))}'
                    self._note(("steps", number, "name"), value, f"is of a framework, and none is on; {needed}")
            if number not in self._left_out:
                planned.append(step.planned(f"{self._path.name}:{self._line(('steps', number))}"))
        return tuple(planned)

    def _noted(self, document: dict[str, Any], error: ErrorDetails) -> KeyPath:
        path, value = _descend(document, error)
        if error["type"] == "missing":
            self._note(path, None, f'"{path[-1]}" is missing: {_allowed(path)}', shown=path[:-1])
        else:
            is_whole_table = error["type"] == "harn_steps" and isinstance(path[-1], int)
            shown = None if is_whole_table or error["type"] == "extra_forbidden" else value
            self._note(path, shown, _text(error, path, value))
        return path

    def _note(self, path: KeyPath, value: object, text: str, *, shown: KeyPath | None = None) -> None:
        shown = path if shown is None else shown
        problem = Problem(self._path.name, self._line(shown), _written(shown), _toml(value), text)
        self._found.setdefault(path, problem)

    def _line(self, path: KeyPath) -> int | None:
        path = (*self._section, *path)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def _take_out(self, document: dict[str, Any], *path: str | int) -> None:
        """Make the document right where it was wrong, by leaving out what cannot stay."""
        match path:
            case ("steps", int(number)):
                self._left_out.add(number)
                document["steps"][number] = {"target": f"left_out:step_{number}"}
            case ("steps", int(number), "target", *_):
                self._left_out.add(number)
                document["steps"][number]["target"] = f"left_out:step_{number}"
            case ("steps", int(number), "name" | "allowed_values", *_):
                # A step by another name than the one asked for would be a guess.
                self._left_out.add(number)
                _remove(document["steps"][number], "name", "allowed_values")
                document["steps"][number].setdefault("target", f"left_out:step_{number}")
            case ("steps", int(number), "error_boundary", *_):
                _remove(document["steps"][number], "error_boundary", "fallback")
            case ("agents" | "budgets" as table, str(name), str(key), *_):
                _take_out_of_budget(document[table], name, key)
            case ("steps", int(), str(key), *_):
                _remove_at(document, path[: 4 if key in ("budget", "metadata") else 3])
            case ("prices" | "models" | "agents" | "budgets" | "sinks", str(), *_) | (
                "frameworks" | "baggage_labels" | "metric_labels",
                int(),
            ):
                _remove_at(document, path[:2])
            case (key, *_):
                _remove(document, key)


def _take_out_of_budget(budgets: dict[str, Any], name: str, key: str) -> None:
    limits = budgets[name]
    _remove(limits, key)
    # That nothing is left is no mistake of its own; and the budget of another label, or window, would be a guess.
    if not limits.keys() & LIMITS or key in ("key", "window"):
        _remove(budgets, name)


def _remove(table: dict[Any, Any], *keys: object) -> None:
    for key in keys:
        table.pop(key, None)


def _remove_at(document: Any, path: KeyPath) -> None:
    for key in path[:-1]:
        document = document[key]
    with suppress(LookupError):  # two mistakes of one thing
        del document[path[-1]]


def _descend(document: Any, error: ErrorDetails) -> tuple[KeyPath, Any]:
    """Where in the document an error is, and what is there. Pydantic's own path also names branches of unions."""
    steps = [*error["loc"], *error.get("ctx", {}).get("key", ())]
    path: KeyPath = ()
    found = document
    for number, step in enumerate(steps):
        if error["type"] == "missing" and number == len(steps) - 1:
            return (*path, step), None
        try:
            found = found[step]
        except (LookupError, TypeError):
            continue
        path = (*path, step)
    return path, found


# -- the words ---------------------------------------------------------------------------------------------------------

# What people write for what is called otherwise here.
_OTHER_WORDS: Final = {
    **{key: f"budget.{key}" for key in KEYS},
    "max_cost": "budget.max_usd",
    "max_cost_usd": "budget.max_usd",
    "max_requests": "budget.max_calls",
    "max_iterations": "budget.max_calls",
    "max_turns": "budget.max_calls",
    "timeout": "budget.max_seconds",
    "max_minutes": "budget.max_seconds",
    "calls": "max_calls",
    "seconds": "max_seconds",
    "minutes": "max_seconds",
    "input_tokens": "max_input_tokens",
    "output_tokens": "max_output_tokens",
    "function": "target",
    "module": "target",
    "on_error": "error_boundary",
    "on_exceed": "error_boundary",
    "boundary": "error_boundary",
    "default": "fallback",
    "tokens": "max_tokens",
    "usd": "max_usd",
    "step": "steps",
}


def _text(error: ErrorDetails, path: KeyPath, value: object) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown_key(path)
    if error["type"] == "harn_steps":
        return str(error["ctx"]["message"])
    allowed = _allowed(path)
    text = f"must be {allowed}"
    if isinstance(value, str):
        near = closest(value, re.findall(r'"([\w-]+)"', allowed))
        if value in FORMER_WORDS and '"refuse"' in allowed:
            text += f'; "{value}" is "{FORMER_WORDS[value]}" now'
        elif near is not None:
            meant = f'["{near}"]' if "array of" in allowed and near != "auto" else f'"{near}"'
            text += f"; did you mean {meant}?"
        elif value.lower() in ("true", "false", "yes", "no", "on", "off") and "true" in allowed:
            text += f"; did you mean {'true' if value.lower() in ('true', 'yes', 'on') else 'false'}, without quotes?"
        elif re.fullmatch(r"[$]?[\d_.]+", value) and "number" in allowed:
            text += f"; did you mean {value.strip('$')}, without quotes?"
    return text


def _unknown_key(path: KeyPath) -> str:
    table = _table_at(path[:-1])
    known = [] if table is None else list(table.model_fields)
    word = str(path[-1])
    meant = _OTHER_WORDS.get(word, "").removeprefix("budget." if table is BudgetTable else "")
    near = meant if meant.split(".")[0] in known else closest(word, known)
    own = "; keys of your own go under metadata" if table is StepTable and near is None else ""
    return "is not a key here" + own + meant_or_known(near, known)


def _table_at(path: KeyPath) -> type[BaseModel] | None:
    table: type[BaseModel] = ConfigFile
    for key in _without_names(path):
        if isinstance(key, int):
            continue
        field = table.model_fields.get(str(key))
        inner = None if field is None else next(_tables_in(field.annotation), None)
        if inner is None:
            return None
        table = inner
    return table


def _without_names(path: KeyPath) -> KeyPath:
    """The path without the names that the file gives to tables."""
    return path[:1] + path[2:] if path[:1] in (("agents",), ("budgets",)) else path


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)


def _allowed(path: KeyPath) -> str:
    """What may stand at `path`, as the model says it."""
    names = [key for key in _without_names(path) if isinstance(key, str)]
    table: type[BaseModel] | None = ConfigFile
    found = "a table"
    for number, name in enumerate(names):
        field = None if table is None else table.model_fields.get(name)
        if field is None:
            return INNER_ALLOWED.get((names[number - 1], len(names) - number), found)
        found = next((each.text for each in _allowed_in(field.metadata, field.annotation)), found)
        table = next(_tables_in(field.annotation), None)
    return INNER_ALLOWED.get((names[-1], 1), found) if isinstance(path[-1], int) else found


def _allowed_in(metadata: Iterable[Any], annotation: Any) -> Iterator[Allowed]:
    yield from (each for each in metadata if isinstance(each, Allowed))
    for inner in get_args(annotation):
        yield from _allowed_in(getattr(inner, "__metadata__", ()), inner)


def _written(path: KeyPath) -> str:
    """The path as one would write it: `steps[0].budget.max_usd`."""
    written = ""
    for key in path:
        if isinstance(key, int):
            written += f"[{key}]"
        else:
            bare = re.fullmatch(r"[\w-]+", key)
            written += ("." if written else "") + (key if bare else json.dumps(key, ensure_ascii=False))
    return written


def _toml(value: object) -> str | None:
    """The value about as the file has it, cut where it is long."""
    if value is None:
        return None
    if isinstance(value, (str, bool, int, float)):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, dict):
        pairs = ", ".join(f"{_written((key,))} = {_toml(each)}" for key, each in value.items())
        text = f"{{ {pairs} }}" if pairs else "{}"
    elif isinstance(value, list):
        text = f"[{', '.join(str(_toml(each)) for each in value)}]"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
