"""Starting by a file alone, as `opentelemetry-instrument` does: whatever is wrong is logged, and nothing is raised."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_harn_steps
from otel_harn_steps.cli._instrumentor import HarnStepsInstrumentor


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The configuration file that a start reads; what was started is stopped."""
    file = tmp_path / "harn-steps.toml"
    monkeypatch.setenv("OTEL_HARN_STEPS_CONFIG", str(file))
    yield file
    HarnStepsInstrumentor().uninstrument()
    otel_harn_steps.reset_steps()


def start() -> None:
    HarnStepsInstrumentor().instrument(skip_dep_check=True)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_file_with_a_mistake_is_used_without_it(started: Path, caplog: pytest.LogCaptureFixture) -> None:
    started.write_text("metrics = true\nno_such_setting = 1\n")
    start()
    mistake, verdict = said(caplog)
    assert "no_such_setting" in mistake
    assert verdict.endswith("is used without what is wrong in it")


def test_a_strict_file_with_a_mistake_is_not_used(started: Path, caplog: pytest.LogCaptureFixture) -> None:
    started.write_text("strict = true\nno_such_setting = 1\n")
    start()
    assert said(caplog)[-1].endswith("is not used: it is strict, and has mistakes")


def test_a_file_that_is_missing_keeps_no_client_from_being_patched(
    started: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    assert "harn-steps.toml" in said(caplog)[0]
    with otel_harn_steps.step("s") as active:
        otel_harn_steps.record_llm_usage("m", 1, 1)
    assert active.llm_calls == 1


def test_the_files_budget_of_an_agent_holds_also_where_the_app_instruments_by_itself(started: Path) -> None:
    started.write_text('agents."re*" = { max_calls = 1 }\n')
    start()
    otel_harn_steps.instrument(agents={"writer": {"max_calls": 2}})
    for agent, calls in (("researcher", 1), ("writer", 2)):
        with otel_harn_steps.step("s", agent=agent) as active:
            for _ in range(calls):
                otel_harn_steps.record_llm_usage("m", 1, 1)
            with pytest.raises(otel_harn_steps.StepBudgetExceeded, match=f"agent `{agent}` exceeded max_calls"):
                otel_harn_steps.record_llm_usage("m", 1, 1)
        assert active.llm_calls == calls + 1


def test_the_files_budget_of_a_label_holds_also_where_the_app_instruments_by_itself(started: Path) -> None:
    started.write_text('[budgets.tenants]\nkey = "tenant"\nmax_calls = 1\n')
    start()
    otel_harn_steps.instrument(budgets={"users": {"key": "user", "max_calls": 2}})
    for label, calls in (({"tenant": "acme"}, 1), ({"user": "ada"}, 2)):
        with otel_harn_steps.labels(**label), otel_harn_steps.step("s"):
            for _ in range(calls):
                otel_harn_steps.record_llm_usage("m", 1, 1)
            with pytest.raises(
                otel_harn_steps.StepBudgetExceeded, match=f"^{next(iter(label))} `a.* exceeded max_calls"
            ):
                otel_harn_steps.record_llm_usage("m", 1, 1)


def test_a_reader_that_breaks_is_logged(
    started: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.write_text("metrics = true\n")
    monkeypatch.setattr("otel_harn_steps.config._loading.load", lambda path: 1 / 0)
    start()
    assert said(caplog)[0] == "the configuration is not used: reading it failed"


def test_a_start_that_breaks_is_logged(
    started: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.write_text("metrics = true\n")
    monkeypatch.setattr("otel_harn_steps.config._automatic.start", lambda plan, **_: 1 / 0)
    start()
    assert said(caplog) == ["otel_harn_steps is not at work: starting it failed"]
