"""What a right file becomes, and what follows from the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from otel_harn_steps import Budget
from otel_harn_steps._instrument.options import OPTIONS, Options
from otel_harn_steps._steps.budget import KEYS
from otel_harn_steps._steps.label_budgets import LabelBudget, label_budget_of
from otel_harn_steps.config._budget_table import BudgetTable, LabelBudgetTable
from otel_harn_steps.config._finding import find_config
from otel_harn_steps.config._loading import load
from otel_harn_steps.config._model import ConfigFile
from otel_harn_steps.config._plan import Plan

ROOT = Path(__file__).parent.parent.parent

FULL = """
strict = true
unpriced = { input_mtok = 3, output_mtok = 15 }
unmetered = "ignore"
call_spans = false
stream_usage = false
metrics = false
redact_errors = true
prices."my-model" = { input_mtok = 2.5 }

[sinks]
json_lines = "out/records.jsonl"
log_events = true

[[steps]]
target = "shop.agent:Planner.plan"
name = "plan"
model = "gpt-4o"
budget = { max_tokens = 1000, max_usd = 0.05 }
error_boundary = "continue"
fallback = ["nothing"]
scope = "tree"
agent = "planner"
approval = "manual"
metadata = { team = "search" }
"""


@pytest.fixture
def full(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text(FULL)
    return load(file)


def test_every_key_arrives(full, tmp_path):
    definition = full.plan.steps[0].definition("Planner.plan")

    assert full.problems == ()
    assert full.strict is True
    options = full.plan.options
    assert options["unpriced"] == {"input_mtok": 3, "output_mtok": 15}
    assert options["unmetered"] == "ignore"
    assert options["prices"] == {"my-model": {"input_mtok": 2.5}}
    assert (options["call_spans"], options["stream_usage"], options["metrics"]) == (False, False, False)
    assert (options["redact_errors"], full.plan.log_events) == (True, True)
    assert full.plan.json_lines == str(tmp_path / "out" / "records.jsonl")
    assert (definition.name, definition.model, definition.agent) == ("plan", "gpt-4o", "planner")
    assert (definition.max_tokens, definition.max_usd, definition.scope) == (1000, 0.05, "tree")
    assert (definition.error_boundary, definition.fallback) == ("continue", ["nothing"])
    assert dict(definition.metadata) == {"approval": "manual", "team": "search"}


EVERY_LIMIT = """
[[steps]]
target = "shop.agent:Planner.plan"

[steps.budget]
max_tokens = 1000
max_usd = 0.05
max_input_tokens = 900
max_output_tokens = 800
max_calls = 40
max_seconds = 30
max_cost_per_call = 0.01
loop = 3
preflight = "exhausted"
on_contention = "refuse"
wait_seconds = 5
stop_streams = true
hard_stop_after = 0
mode = "shadow"
at = { "0.5" = "notify", "0.8" = "downgrade:gpt-5-nano" }
"""


def budget_of(tmp_path: Path, text: str) -> Budget:
    file = tmp_path / "harn-steps.toml"
    file.write_text(text)
    loaded = load(file)
    assert loaded.problems == ()
    there = Plan.from_json(json.loads(json.dumps(loaded.plan.to_json())))
    return there.steps[0].definition("plan").budget


def test_every_key_of_a_budget_arrives(tmp_path):
    assert budget_of(tmp_path, EVERY_LIMIT) == Budget(
        max_tokens=1000, max_usd=0.05, max_input_tokens=900, max_output_tokens=800, max_calls=40, max_seconds=30,
        max_cost_per_call=0.01, loop=3, preflight="exhausted", on_contention="refuse", wait_seconds=5,
        stop_streams=True, hard_stop_after=0, mode="shadow", at={"0.5": "notify", "0.8": "downgrade:gpt-5-nano"},
    )  # fmt: skip


def test_the_budget_of_an_agent_reserves_and_waits_as_that_of_a_step_does(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text('agents."*-writer" = { max_usd = 1 }\n[agents.researcher]\nmax_calls = 40\n')
    loaded = load(file)

    assert loaded.problems == ()
    there = Plan.from_json(json.loads(json.dumps(loaded.plan.to_json())))
    assert {name: Budget(**limits) for name, limits in there.agents.items()} == {
        "*-writer": Budget(max_usd=1, preflight="reserve", on_contention="wait"),
        "researcher": Budget(max_calls=40, preflight="reserve", on_contention="wait"),
    }


def test_the_budget_of_a_label_reserves_and_waits_as_that_of_a_step_does(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text('[budgets.tenants]\nkey = "tenant"\nwindow = "day"\nmax_usd = 5\nat = { "0.8" = "notify" }\n')
    loaded = load(file)

    assert loaded.problems == ()
    there = Plan.from_json(json.loads(json.dumps(loaded.plan.to_json())))
    assert {name: label_budget_of(limits) for name, limits in there.budgets.items()} == {
        "tenants": LabelBudget(
            "tenant", "day", Budget(max_usd=5, preflight="reserve", on_contention="wait", at={"0.8": "notify"})
        ),
    }


def test_the_settings_of_labels_are_arguments(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text('baggage_labels = ["tenant", "user"]\nmetric_labels = ["tenant"]\nmetric_label_values = 7\n')
    loaded = load(file)

    assert loaded.problems == ()
    assert loaded.plan.options == {
        "baggage_labels": ["tenant", "user"], "metric_labels": ["tenant"], "metric_label_values": 7,
    }  # fmt: skip


def test_the_budget_of_a_file_has_the_keys_of_one_in_code():
    assert tuple(BudgetTable.model_fields) == KEYS
    assert {*LabelBudgetTable.model_fields} == {*KEYS, "key", "window"}


def test_a_budget_of_a_file_reserves_and_waits_where_one_in_code_is_asked_to(tmp_path):
    in_file = budget_of(tmp_path, '[[steps]]\ntarget = "a:b"\nbudget = { max_usd = 1, cap_output = true }\n')

    assert in_file == Budget(max_usd=1, preflight="reserve", on_contention="wait", stop_streams=True, cap_output=True)
    assert Budget(max_usd=1) == Budget(max_usd=1, preflight="exhausted", on_contention="refuse", stop_streams=False)


def test_a_fallback_of_a_file_is_a_value_and_never_called(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text('[[steps]]\ntarget = "a:b"\nerror_boundary = "continue"\nfallback = "builtins:print"\n')

    assert load(file).plan.steps[0].definition("b").fallback == "builtins:print"


def test_a_plan_survives_the_way_to_another_process(full):
    there = Plan.from_json(json.loads(json.dumps(full.plan.to_json())))

    assert json.dumps(there.to_json()) == json.dumps(full.plan.to_json())
    assert there.steps[0].definition("x") == full.plan.steps[0].definition("x")


def test_the_file_and_instrument_have_the_same_settings_with_the_same_defaults():
    only_in_code = {"providers", "tracer_provider", "meter_provider", "logger_provider"}
    in_file = ConfigFile()

    assert set(OPTIONS) - only_in_code == set(ConfigFile.model_fields) - {"strict", "steps", "records"}
    spend = ("prices", "models", "unpriced", "unmetered")
    same = ("call_spans", "conversation_label", "stream_usage", "metrics", "redact_errors", "clients", "threads")
    for name in (*spend, *same, "unseen_calls"):
        assert getattr(in_file, name) == getattr(Options(), name)
    assert tuple(in_file.emit) == Options().emit


def test_what_a_file_leaves_out_is_left_to_instrument(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text("metrics = false\n")

    assert load(file).plan.options == {"metrics": False}


def test_the_schema_and_the_tables_in_the_docs_are_current():
    done = subprocess.run(
        [sys.executable, "tools/configuration.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_schema_is_shipped_in_the_package():
    schema = json.loads((ROOT / "otel_harn_steps" / "config" / "harn-steps.schema.json").read_text())

    assert set(schema["properties"]) >= {"steps", "prices", "sinks"}
    assert schema["$defs"]["StepTable"]["anyOf"] == [{"required": ["target"]}, {"required": ["name"]}]


def test_the_file_is_what_is_given_then_the_environment_then_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_HARN_STEPS_CONFIG", raising=False)
    assert find_config() is None

    Path("pyproject.toml").write_text("[tool.otel_harn_steps]\n")
    assert find_config() == Path("pyproject.toml")

    Path("harn-steps.toml").touch()
    assert find_config() == Path("harn-steps.toml")

    monkeypatch.setenv("OTEL_HARN_STEPS_CONFIG", "elsewhere.toml")
    assert find_config() == Path("elsewhere.toml")
    assert find_config("given.toml") == Path("given.toml")


@pytest.mark.parametrize("text", ['[project]\nname = "otel_harn_steps"\n', "otel_harn_steps is not TOML", "[tool]\n"])
def test_a_pyproject_that_only_mentions_us_is_not_ours(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_HARN_STEPS_CONFIG", raising=False)
    Path("pyproject.toml").write_text(text)

    assert find_config() is None
