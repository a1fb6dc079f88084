"""What pytest loads of otel_harn_steps: fixtures, a mark and an option, and nothing of the package until one is used.

Outside of the package, because whatever is in it imports OpenTelemetry first: in a project that uses none of this, that
would take a fifth of a second of every start of pytest, before any conftest has set what OpenTelemetry reads.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from otel_harn_steps.testing import CapturedSteps, CostSnapshot

_MARK = "step_budget"
_UPDATE = "--update-cost-snapshots"
_FOLDER = "__cost_snapshots__"
_OF_REPORT = "otel_harn_steps_cost_snapshots"
_OF_WORKER = "otel_harn_steps_collected"
_COMPARED = pytest.StashKey["CostSnapshot"]()
_SESSION = pytest.StashKey["_Session"]()


def _wrapper(hook: Any) -> Any:
    """Mark a hook as one around others. None, which is no hook, where pluggy is older than 1.2 and knows none such."""
    try:
        return pytest.hookimpl(wrapper=True)(hook)
    except TypeError:
        return None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("otel-harn-steps", "what steps cost")
    group.addoption(
        _UPDATE, action="store_true", help="write what the steps of tests have cost into their cost snapshots"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARK}(max_usd=..., max_tokens=..., max_calls=...): what the model calls of the test may spend together",
    )
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist writes no file
        config.stash[_SESSION] = session = _Session(config)
        config.pluginmanager.register(session, "otel-harn-steps-session")


@pytest.fixture
def steps() -> Iterator[CapturedSteps]:
    """The steps and model calls of the test, from here on: `.records`, `.calls`, `.total`, `.step("plan")`."""
    from otel_harn_steps.testing import capture_steps

    with capture_steps() as captured:
        yield captured


@pytest.fixture
def cost_snapshot(request: pytest.FixtureRequest) -> CostSnapshot:
    """What the steps of the test have cost when that was last accepted: `assert steps == cost_snapshot`."""
    from otel_harn_steps.testing import CostSnapshot

    _check_pluggy()
    found = CostSnapshot(request.node.path, request.node.nodeid, updates=request.config.getoption(_UPDATE))
    request.node.stash[_COMPARED] = found
    return found


# -- the budget of a test --------------------------------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker(_MARK) is not None:
        _check_pluggy()
        _budget(item)


@_wrapper
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    if item.get_closest_marker(_MARK) is None:
        return (yield)
    from otel_harn_steps.testing._step_budget import held_to

    with held_to(item.nodeid, _budget(item)) as held:
        try:
            result = yield
        except (KeyboardInterrupt, SystemExit, pytest.exit.Exception, pytest.skip.Exception, pytest.xfail.Exception):
            raise
        except BaseException as error:
            failure = held.failure()
            if failure is not None:  # of the budget's own error, the first line is the message
                error.add_note(failure.partition("\n")[2] if failure.startswith(str(error)) else failure)
            raise
        failure = held.failure()
    if failure is not None:
        pytest.fail(failure, pytrace=False)
    return result


def _check_pluggy() -> None:
    if pytest_runtest_call is None:
        pytest.fail(f"{_MARK} and cost_snapshot need pluggy 1.2 or newer", pytrace=False)


def _budget(item: pytest.Item) -> Any:
    from otel_harn_steps.testing._step_budget import StepBudgetMarkError, budget_of_mark

    mark = item.get_closest_marker(_MARK)
    assert mark is not None
    try:
        return budget_of_mark(mark.args, mark.kwargs)
    except StepBudgetMarkError as error:
        wrong = str(error)
    pytest.fail(wrong, pytrace=False)


# -- cost snapshots --------------------------------------------------------------------------------------------------


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    for each in (left, right):
        kind = type(each)
        if op == "==" and kind.__name__ == "CostSnapshot" and kind.__module__.startswith("otel_harn_steps."):
            return cast("CostSnapshot", each).explain() or None
    return None


@pytest.hookimpl(tryfirst=True)  # before anybody deselects: a test that is not run is there all the same
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    has_snapshots = {folder: (folder / _FOLDER).is_dir() for folder in {item.path.parent for item in items}}
    tests: dict[str, list[str]] = {}
    for item in items:
        if has_snapshots[item.path.parent]:
            tests.setdefault(str(item.path), []).append(item.nodeid)
    is_whole = not config.getoption("lf", False) and not any("::" in argument for argument in config.args)
    collected = {"tests": tests, "is_whole": is_whole}
    if _SESSION in config.stash:
        config.stash[_SESSION].collected = collected
    elif tests:
        config.workeroutput[_OF_WORKER] = collected  # type: ignore[attr-defined]  # pytest-xdist has put it there


@_wrapper
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    compared = item.stash.get(_COMPARED, None)
    if compared is not None and call.when == "call":
        setattr(report, _OF_REPORT, compared.used())  # a worker of pytest-xdist sends it along with the report
    return report


class _Session:
    """What the process that writes the files gets to know."""

    def __init__(self, config: pytest.Config) -> None:
        self._updates = config.getoption(_UPDATE)
        self._used: list[Any] = []
        self._passed: set[str] = set()
        self.collected: dict[str, Any] = {"tests": {}, "is_whole": False}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended. It has collected what this process has not."""
        self.collected = getattr(node, "workeroutput", {}).get(_OF_WORKER, self.collected)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            if report.passed:
                self._passed.add(report.nodeid)
            if hasattr(report, _OF_REPORT):
                self._used.append(getattr(report, _OF_REPORT))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._used and not self.collected["tests"]:
            return
        from otel_harn_steps.testing._snapshot_session import SnapshotSession

        session = SnapshotSession(self._used, self.collected["tests"], self.collected["is_whole"], self._passed)
        said = session.finish(updates=self._updates)
        if said:
            terminalreporter.section("cost snapshots")
            here = f"{terminalreporter.config.rootpath}{os.sep}"
            terminalreporter.write_line("\n".join(line.replace(here, "") for line in said))
