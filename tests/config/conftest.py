"""An app of the test's own, and steps declared for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from otel_harn_steps import CompletedStep, drain_completed_steps, reset_steps
from otel_harn_steps.config._plan import PlannedStep
from otel_harn_steps.config._targets import Targets

SHOP = """
import functools

def plan(question): return "plan " + question
async def search(query): return "found " + query
def words(text): yield from text.split()
async def awords(text):
    for word in text.split():
        yield word
def _private(): return 1
@functools.lru_cache
def cached(x): return x * 2

class Tool:
    def __init__(self, name): self.name = name
    async def __call__(self, query): return self.name + query
tool = Tool("fetch ")
NUMBER = 3

class Agent:
    name = "alpha"
    def run(self, tool_name="search", *, times=1): return f"{tool_name} {times}"
    async def arun(self): return self.name
    @classmethod
    def make(cls): return cls()
    @staticmethod
    def helper(x): return x
    @property
    def shout(self): return self.name.upper()

class Loud(Agent):
    pass
"""


@pytest.fixture
def shop_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package `shop` with a module `agent`, which is not imported yet."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "agent.py").write_text(SHOP)
    (package / "front.py").write_text("from shop.agent import plan, Agent\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def declare(shop_source: Path) -> Iterator[Callable[..., Targets]]:
    """Declares steps by their targets, or by `PlannedStep`s, and begins to watch."""
    made: list[Targets] = []

    def declare(*steps: str | PlannedStep) -> Targets:
        planned = [PlannedStep(each, "harn-steps.toml:1") if isinstance(each, str) else each for each in steps]
        targets = Targets(tuple(planned))
        targets.watch()
        made.append(targets)
        return targets

    yield declare
    for each in made:
        each.unwrap()
    reset_steps()


@pytest.fixture
def shop(shop_source: Path) -> Callable[[], ModuleType]:
    """Imports `shop.agent`."""
    return lambda: importlib.import_module("shop.agent")


@pytest.fixture
def finished() -> Callable[[], list[tuple[str, str]]]:
    """The names and functions of the steps that have ended since."""

    def finished() -> list[tuple[str, str]]:
        records: list[CompletedStep] = drain_completed_steps()
        return [(record.name, record.function) for record in records]

    drain_completed_steps()
    return finished
