"""Steps of frameworks as a file declares them. What makes them is in `tests/frameworks`; here they are called for."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pydantic")

import otel_harn_steps
from otel_harn_steps import drain_completed_steps, record_llm_usage
from otel_harn_steps.config import _starting
from otel_harn_steps.config._loading import load
from otel_harn_steps.config._plan import Plan
from otel_harn_steps.frameworks import FRAMEWORKS
from otel_harn_steps.frameworks._naming import definition_of
from otel_harn_steps.frameworks._running import in_step

PLANNER = """
frameworks = ["langgraph"]

[[steps]]
name = "Planner"
model = "gpt-4o"
budget = { max_tokens = 10 }
error_boundary = "continue"
fallback = "no plan"
"""


@pytest.fixture
def start(tmp_path: Path):
    """Puts what a file says in force."""

    def start(text: str, **options) -> Plan:
        file = tmp_path / "harn-steps.toml"
        file.write_text(text)
        loaded = load(file)
        assert loaded.problems == ()
        plan = Plan.from_json(loaded.plan.to_json())
        _starting.start(plan, **options)
        return plan

    yield start
    _starting.stop()
    otel_harn_steps.reset_steps()


def ran(name: str) -> object:
    """What a framework gets whose agent `name` has spent 20 tokens."""

    def work() -> str:
        record_llm_usage(model="gpt-4o", input_tokens=20, output_tokens=0)
        return "a plan"

    return in_step(definition_of(name, "agent"), work, lambda fallback: fallback)


def test_a_step_without_a_target_is_declared_for_the_frameworks_step_of_its_name(start):
    start(PLANNER)

    assert [ran("Planner"), ran("Writer")] == ["no plan", "a plan"]
    assert [(record.name, record.status) for record in drain_completed_steps()] == [
        ("Planner", "skipped"),
        ("Writer", "completed"),
    ]


def test_when_it_stops_nothing_is_declared_any_more(start):
    start(PLANNER)
    _starting.stop()

    assert ran("Planner") == "a plan"


def test_a_step_that_has_run_is_seen_and_another_is_told_of(start, caplog):
    plan = start(PLANNER + '[[steps]]\nname = "Planer"\n')

    ran("Planner")
    with caplog.at_level(logging.WARNING):
        _starting.started().report_unseen()

    assert [record.message for record in caplog.records] == [
        f"{plan.steps[1].where}: no step 'Planer' of a framework has run"
    ]


def test_what_is_registered_by_that_name_is_for_a_frameworks_step_too(start):
    start('frameworks = "auto"')
    otel_harn_steps.register_step_from_dict("Planner", {"budget": {"max_tokens": 10}, "error_boundary": "continue"})

    assert ran("Planner") is None


def test_a_name_may_have_braces_where_no_argument_is_behind_it(start):
    start('frameworks = ["crewai"]\n[[steps]]\nname = "{topic} Expert"\nbudget = { max_tokens = 30 }')

    assert definition_of("{topic} Expert\n", "task").max_tokens == 30


def test_an_app_that_instruments_itself_does_not_switch_the_files_frameworks_off(unknown_langgraph, start):
    runner = importlib.import_module(unknown_langgraph)
    runner.run_with_retry = runner.arun_with_retry = before = lambda: None
    start('frameworks = ["langgraph"]')

    otel_harn_steps.instrument()
    assert runner.run_with_retry is not before

    _starting.stop()
    assert runner.run_with_retry is before


def test_auto_is_every_framework(start):
    assert start('frameworks = "auto"').frameworks == FRAMEWORKS


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"frameworks": ["autogen"]}, "frameworks must be of openai-agents, langgraph, pydantic-ai, crewai, not 'autogen'"),
        ({"frameworks": "langgraph"}, "frameworks must be 'auto' or a list of names such as \\['langgraph'\\]"),
        ({"frameworks": ["lang-graph"]}, "not 'lang-graph'; did you mean 'langgraph'\\?"),
        ({"clients": ["opnai"]}, "clients must be of openai, anthropic, .*, not 'opnai'; did you mean 'openai'\\?"),
        ({"clients": "openai"}, "clients must be a list of names such as \\['openai'\\], not 'openai'"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_an_error_that_says_what_is_allowed(setting, message):
    with pytest.raises((TypeError, ValueError), match=message):
        otel_harn_steps.instrument(**setting)


def test_the_models_of_a_file_give_a_deployment_its_price(start):
    start('[models]\nmy-deployment = "gpt-4o-mini"')

    with otel_harn_steps.step("plan"):
        record_llm_usage(model="my-deployment", input_tokens=1_000_000, output_tokens=0)

    assert drain_completed_steps()[0].cost_usd == pytest.approx(0.15)


@pytest.fixture
def unknown_langgraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A version of LangGraph that has its functions elsewhere."""
    package = tmp_path / "langgraph" / "pregel"
    package.mkdir(parents=True)
    (package / "_runner.py").write_text("def run_a_node(): return 'done'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "langgraph.pregel._runner"
    for name in [name for name in sys.modules if name.partition(".")[0] == "langgraph"]:
        del sys.modules[name]
    otel_harn_steps.uninstrument()


def test_a_version_that_is_not_known_is_told_once_and_runs_on(unknown_langgraph, caplog):
    otel_harn_steps.instrument(frameworks=["langgraph"])

    runner = importlib.import_module(unknown_langgraph)
    otel_harn_steps.instrument(frameworks=["langgraph"])

    assert runner.run_a_node() == "done"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("langgraph.pregel._runner.run_with_retry is missing in langgraph ")


def test_arguments_that_are_not_known_are_told_once_and_the_app_runs_on(tmp_path):
    package = tmp_path / "langgraph" / "pregel"
    package.mkdir(parents=True)
    functions = "def run_with_retry(work): return work\nasync def arun_with_retry(work): return work\n"
    (package / "_runner.py").write_text(functions)
    program = (
        "import otel_harn_steps; otel_harn_steps.instrument(frameworks='auto');"
        "from langgraph.pregel import _runner;"
        "print(_runner.run_with_retry('done'), _runner.run_with_retry(work='done'))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "done done\n"
    assert done.stderr.count("otel_harn_steps failed while reading which step of a framework runs") == 1


@pytest.fixture
def unknown_langchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A version of LangChain that calls its models elsewhere."""
    package = tmp_path / "langchain_core" / "language_models"
    package.mkdir(parents=True)
    (package / "chat_models.py").write_text("class BaseChatModel:\n    def stream(self, input): return input\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "langchain_core.language_models.chat_models"
    for name in [name for name in sys.modules if name.partition(".")[0] == "langchain_core"]:
        del sys.modules[name]
    otel_harn_steps.uninstrument()


def test_where_a_models_prompt_is_not_known_it_is_said_once_and_the_app_runs_on(unknown_langchain, caplog):
    otel_harn_steps.instrument(frameworks=["langgraph"])

    models = importlib.import_module(unknown_langchain)

    assert models.BaseChatModel().stream("hi") == "hi"
    [message] = caplog.messages
    assert message.startswith(f"{unknown_langchain}.BaseChatModel._generate_with_cache is missing in langchain-core ")
    assert message.endswith(": not every model of this framework is told what is left of a budget")


def test_a_prompt_that_is_not_known_is_said_once_and_given_as_it_is(tmp_path):
    package = tmp_path / "langchain_core" / "language_models"
    package.mkdir(parents=True)
    names = "_generate_with_cache", "_agenerate_with_cache", "astream", "stream"
    methods = "".join(f"    def {name}(self, input): return input\n" for name in names)
    (package / "chat_models.py").write_text(f"class BaseChatModel:\n{methods}")
    program = (
        "import otel_harn_steps; otel_harn_steps.instrument(frameworks='auto');"
        "from langchain_core.language_models.chat_models import BaseChatModel;"
        "step = otel_harn_steps.step('plan', max_calls=2, at={0.5: 'tell'}); step.__enter__();"
        "otel_harn_steps.record_llm_usage(model='gpt-4o', input_tokens=1, output_tokens=0);"
        "print(BaseChatModel().stream('hi'), BaseChatModel().stream(input='hi'))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "hi hi\n"
    assert done.stderr.count("otel_harn_steps failed while telling a model what is left of its budget") == 1


def test_no_framework_is_imported_before_the_app_does():
    program = (
        "import otel_harn_steps, sys; otel_harn_steps.instrument(frameworks='auto');"
        "print({'agents', 'langgraph', 'pydantic_ai', 'crewai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


@pytest.mark.parametrize("page", ["configuration.md", "frameworks.md", "zero-code.md"])
def test_the_files_in_the_docs_are_right(page, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    files = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert files

    for number, file in enumerate(files):
        path = tmp_path / f"{number}.toml"
        path.write_text(file)
        assert load(path).problems == ()
