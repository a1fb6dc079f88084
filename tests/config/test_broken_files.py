"""Files with mistakes, and what is said about each."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from otel_harn_steps.config._loading import load

BROKEN = Path(__file__).parent / "broken"
STEP_KEYS = (
    "target, name, allowed_values, model, budget, error_boundary, fallback, scope, agent, detail, approval, receipt, "
    "retry, metadata"
)
SETTINGS = (
    "strict, steps, frameworks, agents, budgets, baggage_labels, clients, prices, models, unpriced, unmetered, call_spans, "
    "emit, conversation_label, stream_usage, metrics, metric_step_names, metric_labels, metric_label_values, "
    "redact_errors, threads, unseen_calls, pause_folder, sinks, sink_queue, records"
)
BUDGET_KEYS = (
    "max_tokens, max_usd, max_input_tokens, max_output_tokens, max_calls, max_seconds, max_cost_per_call, loop, "
    "preflight, on_contention, wait_seconds, cap_output, stop_streams, hard_stop_after, mode, at"
)
RATES = "a table of US dollars by price key, as in { input_mtok = 2.5, output_mtok = 10 }"

EXPECTED = {
    "not_toml_unquoted": [
        ":3: is not TOML: invalid value in `name = plan`; a string needs quotes",
    ],
    "not_toml_brackets": [
        ":1: is not TOML: expected ']]' at the end of an array declaration in `[[steps]`",
    ],
    "unknown_setting": [
        f':1: stream_usages: is not a key here; did you mean "stream_usage"? Known: {SETTINGS}',
    ],
    "agents": [
        ":1: agents.researcher.max_usd = -1: must be a number, 0 or more: US dollars",
        f':1: agents.researcher.max_uds: is not a key here; did you mean "max_usd"? Known: {BUDGET_KEYS}',
        ':2: agents."*-writer" = { mode = "shadow" }: has none of the limits max_tokens, max_usd,',
        ':3: agents.tester = 0.5: must be a table of budgets by agent, as in agents."researcher" = { max_usd = 0.5 }',
    ],
    "labels": [
        ":1: baggage_labels[1] = 7: must be a string that is not empty",
        ':2: metric_labels = "tenant": must be an array of names of labels, as in ["tenant"]',
        ':4: budgets.keyless: "key" is missing: the name of a label, as in "tenant"',
        ':9: budgets.weekly.window = "days": must be "run", "hour", "day" or "month"; did you mean "day"?',
        ":14: budgets.late.max_seconds = 5: has no meaning for a label: it is about one run of a step",
        ':16: budgets.nothing = { key = "tenant" }: has none of the limits max_tokens, max_usd,',
        f':21: budgets.tenants.max_uds: is not a key here; did you mean "max_usd"? Known: {BUDGET_KEYS}, key, window',
    ],
    "unknown_step_key": [
        f':3: steps[0].modle: is not a key here; did you mean "model"? Known: {STEP_KEYS}',
    ],
    "budget_beside_the_table": [
        f':3: steps[0].max_usd: is not a key here; did you mean "budget.max_usd"? Known: {STEP_KEYS}',
    ],
    "own_key_beside_metadata": [
        f":3: steps[0].team: is not a key here; keys of your own go under metadata; known: {STEP_KEYS}",
    ],
    "target_missing": [
        (
            ':4: steps[0].name = "plan": is of a framework, and none is on; add frameworks = "auto", or a target: '
            '"module:function" or "module:Class.method"'
        ),
    ],
    "step_of_nothing": [
        ':1: steps[0]: needs a "target", as "module:function", or the "name" of a framework\'s step',
    ],
    "framework_misspelt": [
        (
            ':1: frameworks[0] = "lang-graph": must be "openai-agents", "langgraph", "pydantic-ai" or "crewai"; '
            'did you mean "langgraph"?'
        ),
        (':1: frameworks[2] = "autogen": must be "openai-agents", "langgraph", "pydantic-ai" or "crewai"'),
    ],
    "frameworks_as_one_word": [
        (
            ':1: frameworks = "langgraph": must be "auto" or an array of "openai-agents", "langgraph", "pydantic-ai" '
            'or "crewai"; did you mean ["langgraph"]?'
        ),
    ],
    "framework_step_of_no_framework": [
        (
            ':2: steps[0].name = "Planner": is of a framework, and none is on; add frameworks = "auto", or a target: '
            '"module:function" or "module:Class.method"'
        ),
    ],
    "framework_step_twice": [
        ':8: steps[1].name = "Planner": is the name of steps[0] (line 3) already',
    ],
    "allowed_values_of_a_framework_step": [
        ':5: steps[0].allowed_values = { topic = ["salt"] }: has a meaning only with a "target"',
    ],
    "detail_of_a_framework_step": [
        ':5: steps[0].detail = "{topic}": takes an argument, which only the function of a "target" has',
    ],
    "detail_with_a_format": [
        (
            ':3: steps[0].detail = "{query!r}": has a placeholder with a format, where only the name of an argument may '
            'be; write a brace itself as "{{" or "}}"'
        ),
    ],
    "client_misspelt": [
        (
            ':1: clients[1] = "antropic": must be "openai", "anthropic", "groq", "cerebras_cloud_sdk", '
            '"together", "botocore", "google-genai", "mistralai", "cohere", "ollama", "huggingface_hub", "litellm" or "lm15"; did you mean "anthropic"?'
        ),
    ],
    "model_is_a_number": [
        ":2: models.my-deployment = 4: must be a model's name",
    ],
    "target_without_colon": [
        (
            ':2: steps[0].target = "shop.agent.Planner.plan": must be "module:function" or "module:Class.method"; '
            'did you mean "shop.agent:Planner.plan"?'
        ),
    ],
    "target_is_a_path": [
        (
            ':2: steps[0].target = "shop/agent.py:plan": must begin with a module\'s name as in `import`, not with a path; '
            'did you mean "shop.agent:plan"?'
        ),
    ],
    "target_is_a_call": [
        (
            ':2: steps[0].target = "shop.agent:plan()": must be a function\'s name without parentheses; '
            'did you mean "shop.agent:plan"?'
        ),
    ],
    "target_with_many_modules": [
        ':2: steps[0].target = "shop.*:plan": must name one module; patterns are for the part after the colon',
    ],
    "target_inside_a_function": [
        (
            ':2: steps[0].target = "shop.agent:plan.<locals>.inner": must be reachable from its module; '
            "a function inside a function is not"
        ),
    ],
    "target_twice": [
        ':6: steps[1].target = "shop.agent:plan": is the target of steps[0] (line 1) already',
    ],
    "max_usd_is_text": [
        (
            ':6: steps[0].budget.max_usd = "0.05": must be a number, 0 or more: US dollars; 0 means that nothing may be '
            "spent; did you mean 0.05, without quotes?"
        ),
    ],
    "max_tokens_is_zero": [
        ":3: steps[0].budget.max_tokens = 0: must be a whole number above 0: input and output tokens together",
    ],
    "budget_keys_misspelt": [
        f':5: steps[0].budget.max_clals: is not a key here; did you mean "max_calls"? Known: {BUDGET_KEYS}',
        f':6: steps[0].budget.max_cost: is not a key here; did you mean "max_usd"? Known: {BUDGET_KEYS}',
        f':7: steps[0].budget.minutes: is not a key here; did you mean "max_seconds"? Known: {BUDGET_KEYS}',
        ':8: steps[0].budget.preflight = "reserved": must be "exhausted" or "reserve"; did you mean "reserve"?',
        ':9: steps[0].budget.on_contention = true: must be "refuse" or "wait"',
        ":10: steps[0].budget.loop = 1: must be a whole number, 2 or more: repetitions",
        ":11: steps[0].budget.max_calls = 2.5: must be a whole number above 0: calls to models",
        (
            ':12: steps[0].budget.max_seconds = "30": must be a number above 0: seconds; did you mean 30, without '
            "quotes?"
        ),
        ':13: steps[0].budget.stop_streams = "yes": must be true or false; did you mean true, without quotes?',
        ':14: steps[0].budget.mode = "dry": must be "enforce" or "shadow"',
        ":15: steps[0].budget.hard_stop_after = -1: must be a whole number, 0 or more: refused calls",
        ':19: steps[1].budget.at."0.5" = "warn": must be "notify", "downgrade:MODEL" or "tell"',
        ':23: steps[2].budget.at.80 = "notify": must be a number between 0 and 1 in quotes, as in "0.8"',
        (
            ':27: steps[3].budget.at.0 = { 5 = "notify" }: must be "notify", "downgrade:MODEL" or "tell", by a share in '
            'quotes, as in { "0.8" = "notify" }'
        ),
        f':31: steps[4].max_seconds: is not a key here; did you mean "budget.max_seconds"? Known: {STEP_KEYS}',
        ':35: steps[5].budget.cap_output = true: has a meaning only with preflight = "reserve"',
        ":39: steps[6].budget = 5: must be a table of limits, as in { max_usd = 0.05, max_calls = 40 }",
    ],
    "boundary_misspelt": [
        ':3: steps[0].error_boundary = "Contineu": must be "fail", "continue", "escalate" or "pause"; did you mean "continue"?',
    ],
    "fallback_never_used": [
        ':3: steps[0].fallback = "nothing": has a meaning only with error_boundary = "continue"',
    ],
    "name_of_any_value": [
        (
            ':3: steps[0].name = "tool:{tool_name}": takes {tool_name} from an argument without listing its values; '
            'add allowed_values = { tool_name = ["...", "..."] }'
        ),
    ],
    "allowed_values_of_another": [
        ':4: steps[0].allowed_values.tool = ["fetch"]: is for {tool}, which the step\'s name does not have',
    ],
    "name_with_a_format": [
        (
            ':3: steps[0].name = "tool:{tool_name!r}": has a placeholder with a format, where only the name of an argument '
            'may be; write a brace itself as "{{" or "}}"'
        ),
    ],
    "price_key_misspelt": [
        ':2: prices.my-model.input_mtoks = 2.5: is not a price key; did you mean "input_mtok"? Known: input_mtok, ',
    ],
    "price_below_zero": [
        ":1: prices.my-model.input_mtok = -1: must be a number, 0 or more: US dollars",
    ],
    "unpriced_misspelt": [
        (
            ':1: unpriced = "refused": must be "estimate", "ignore", "refuse", or a table of rates such as '
            '{ input_mtok = 2.5, output_mtok = 10 }; did you mean "refuse"?'
        ),
        ':2: unmetered = "raise": must be "estimate", "ignore" or "refuse"; "raise" is "refuse" now',
    ],
    "steps_as_one_table": [
        ':1: steps = { target = "shop.agent:plan" }: must be an array of tables: [[steps]]',
    ],
    "sinks_path_is_a_number": [
        ":2: sinks.json_lines = 1: must be a path",
        ':3: sinks.log_events = "yes": must be true or false; did you mean true, without quotes?',
    ],
    "switch_in_quotes": [
        ':1: metrics = "false": must be true or false; did you mean false, without quotes?',
    ],
    "date_in_a_fallback": [
        ":4: steps[0].fallback[0] = 2026-11-22: must be a string, number, boolean, array or table",
    ],
    "date_as_fallback": [
        ":4: steps[0].fallback = 2026-11-22: must be a string, number, boolean, array or table",
    ],
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_mistake_is_told_with_its_place_its_value_and_what_is_allowed(name):
    problems = [str(problem) for problem in load(BROKEN / f"{name}.toml").problems]

    assert len(problems) == len(EXPECTED[name])
    for line, expected in zip(problems, EXPECTED[name], strict=True):
        assert line.startswith(f"{name}.toml{expected}")
        assert "\n" not in line


def test_every_broken_file_has_its_expectation():
    assert {path.stem for path in BROKEN.iterdir()} == set(EXPECTED)


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text(
        'metrics = 1\n[[steps]]\ntarget = "a.b"\nscope = "all"\nbudget = { max_usd = -1 }\n'
        '[[steps]]\ntarget = "a:c"\nname = "{x}"\nfallback = 1\n'
    )

    problems = [(problem.line, problem.key) for problem in load(file).problems]

    assert problems == [
        (1, "metrics"),
        (3, "steps[0].target"),
        (4, "steps[0].scope"),
        (5, "steps[0].budget.max_usd"),
        (8, "steps[1].name"),
        (9, "steps[1].fallback"),
    ]


def test_what_is_right_stays_where_something_is_wrong(tmp_path):
    file = tmp_path / "harn-steps.toml"
    file.write_text(
        'stream_usage = false\nmetrics = "no"\n'
        '[[steps]]\ntarget = "a.b"\n'
        '[[steps]]\ntarget = "a:c"\nbudget = { max_usd = "1", max_tokens = 10 }\n'
        '[[steps]]\ntarget = "a:d"\nname = "{x}"\n'
    )

    plan = load(file).plan

    assert plan.options == {"stream_usage": False}
    assert [step.target for step in plan.steps] == ["a:c"]
    assert (plan.steps[0].options["budget"]["max_tokens"], "max_usd" in plan.steps[0].options["budget"]) == (10, False)


def test_lines_and_keys_in_pyproject_are_those_of_the_file(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nname = "x"\n\n[tool.otel_harn_steps]\nmetrics = 0\n\n'
        '[[tool.otel_harn_steps.steps]]\ntarget = "a:b"\n\n[[tool.otel_harn_steps.steps]]\ntarget = "a"\n'
    )

    problems = [(problem.line, problem.key) for problem in load(file).problems]

    assert problems == [(5, "metrics"), (11, "steps[1].target")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[tool.otel-harn-steps]\n", "has no [tool.otel_harn_steps]; did you mean it by [tool.otel-harn-steps]?"),
        (b"[tool]\nx = 1\n", "has no [tool.otel_harn_steps]"),
        (b"[tool]\notel_harn_steps = 3\n", "must be a table"),
        (b'name = "\xff"\n', "is not UTF-8, which TOML has to be"),
    ],
)
def test_a_pyproject_without_a_section_is_told(tmp_path, content, expected):
    file = tmp_path / "pyproject.toml"
    file.write_bytes(content)

    [problem] = load(file).problems

    assert problem.text == expected


def test_a_file_that_is_not_there_is_told(tmp_path):
    [problem] = load(tmp_path / "nowhere.toml").problems

    assert str(problem) == "nowhere.toml: cannot be read: No such file or directory"
