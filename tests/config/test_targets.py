"""Functions become steps when their modules are imported."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import pickle
import subprocess
import sys

import pytest

from otel_harn_steps import drain_completed_steps
from otel_harn_steps.config._plan import PlannedStep


def test_a_function_is_a_step_once_its_module_is_imported(declare, shop, finished):
    declare("shop.agent:plan")
    assert "shop.agent" not in sys.modules

    assert shop().plan("x") == "plan x"

    assert finished() == [("plan", "plan")]


def test_a_function_is_a_step_where_its_module_was_imported_before(declare, shop, finished):
    module = shop()

    declare("shop.agent:plan")
    module.plan("x")

    assert finished() == [("plan", "plan")]


def test_who_imports_a_function_by_name_has_the_step(declare, shop_source, finished):
    declare("shop.agent:plan")

    from shop.front import plan

    plan("x")
    assert finished() == [("plan", "plan")]


async def test_every_kind_of_function_stays_of_its_kind(declare, shop, finished):
    declare("shop.agent:search", "shop.agent:words", "shop.agent:awords")
    module = shop()

    assert inspect.iscoroutinefunction(module.search)
    assert inspect.isgeneratorfunction(module.words)
    assert inspect.isasyncgenfunction(module.awords)
    assert await module.search("x") == "found x"
    assert list(module.words("a b")) == ["a", "b"]
    assert [word async for word in module.awords("a b")] == ["a", "b"]
    assert finished() == [("search", "search"), ("words", "words"), ("awords", "awords")]


async def test_methods_of_every_kind_are_steps(declare, shop, finished):
    declare("shop.agent:Agent.run", "shop.agent:Agent.arun", "shop.agent:Agent.make", "shop.agent:Agent.helper")
    agent = shop().Agent.make()

    assert (agent.run("fetch"), await agent.arun(), agent.helper(3)) == ("fetch 1", "alpha", 3)
    assert [function for _, function in finished()] == ["Agent.make", "Agent.run", "Agent.arun", "Agent.helper"]


def test_an_inherited_method_is_a_step_of_the_class_that_was_named(declare, shop, finished):
    declare("shop.agent:Loud.run")
    module = shop()

    module.Agent().run()
    assert finished() == []
    module.Loud().run()
    assert finished() == [("run", "Agent.run")]


def test_a_star_means_the_public_functions_that_are_defined_there(declare, shop, finished):
    declare("shop.agent:*")
    module = shop()

    wrapped = {name for name, value in vars(module).items() if hasattr(value, "__wrapped__")}

    assert wrapped == {"plan", "search", "words", "awords", "cached"}  # `cached` has been wrapped by lru_cache
    assert module.cached(1) == 2
    assert finished() == []


def test_a_star_leaves_out_what_was_imported_from_elsewhere(declare, shop_source, finished):
    targets = declare("shop.front:*")

    from shop.front import plan

    plan("x")
    assert finished() == []
    assert targets.unseen() == []


def test_patterns_fit_classes_and_methods(declare, shop, finished):
    declare("shop.agent:A*.[rm]*")
    agent = shop().Agent.make()
    agent.run()
    agent.helper(1)

    assert [function for _, function in finished()] == ["Agent.make", "Agent.run"]


def test_an_exact_target_comes_before_a_pattern(declare, shop, finished):
    declare("shop.agent:*", PlannedStep("shop.agent:plan", "", name="thinking"))

    shop().plan("x")

    assert finished() == [("thinking", "plan")]


def test_what_is_called_like_a_function_keeps_the_rest_of_itself(declare, shop, finished):
    declare("shop.agent:cached")
    module = shop()

    assert (module.cached(2), module.cached(2)) == (4, 4)
    assert module.cached.cache_info().hits == 1
    assert finished() == [("cached", "cached"), ("cached", "cached")]


async def test_an_object_with_an_asynchronous_call_is_a_step_until_it_is_awaited(declare, shop, finished):
    declare("shop.agent:tool")
    waiting = shop().tool("x")

    assert finished() == []
    assert await waiting == "fetch x"
    assert [name for name, _ in finished()] == ["tool"]


def test_a_step_is_pickled_by_its_name(declare, shop):
    declare("shop.agent:plan", "shop.agent:cached")
    module = shop()

    assert pickle.loads(pickle.dumps(module.plan)) is module.plan
    assert pickle.loads(pickle.dumps(module.cached)) is module.cached


# -- names from arguments ----------------------------------------------------------------------------------------------


def by_tool(**allowed):
    return PlannedStep(
        "shop.agent:Agent.run", "", name="{self.name}:{tool_name}!", allowed_values={"self.name": ("alpha",), **allowed}
    )


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda agent: agent.run("fetch"), "alpha:fetch!"),
        (lambda agent: agent.run(tool_name="fetch"), "alpha:fetch!"),
        (lambda agent: agent.run(), "alpha:search!"),
        (lambda agent: agent.run("rm"), "alpha:other!"),
        (lambda agent: type(agent).run(agent, "fetch", times=2), "alpha:fetch!"),
    ],
)
def test_a_name_takes_listed_values_from_the_arguments(declare, shop, finished, call, name):
    declare(by_tool(tool_name=("search", "fetch")))

    call(shop().Agent())

    assert finished() == [(name, "Agent.run")]


def test_a_wrong_call_fails_as_it_does_without_us(declare, shop, finished):
    declare(by_tool(tool_name=("search",)))

    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'nothing'"):
        shop().Agent().run(nothing=1)
    assert finished() == [("other:other!", "Agent.run")]


async def test_a_function_with_a_name_from_its_arguments_stays_of_its_kind(declare, shop, finished):
    names = {"allowed_values": {"text": ("a b",)}, "name": "say {text}"}
    declare(
        PlannedStep("shop.agent:search", "", name="{query}", allowed_values={"query": ("x",)}),
        PlannedStep("shop.agent:words", "", **names),
        PlannedStep("shop.agent:awords", "", **names),
    )
    module = shop()

    assert inspect.iscoroutinefunction(module.search)
    assert inspect.isgeneratorfunction(module.words)
    assert inspect.isasyncgenfunction(module.awords)
    await module.search("x")
    assert list(module.words("a b")) == [word async for word in module.awords("a b")]
    assert [name for name, _ in finished()] == ["x", "say a b", "say a b"]


def test_a_detail_takes_any_value_of_the_arguments(declare, shop):
    declare(
        PlannedStep("shop.agent:Agent.run", "", options={"detail": "{self.name} {{{tool_name}}} {times}"}),
        PlannedStep("shop.agent:plan", "", options={"detail": "as written"}),
        PlannedStep("shop.agent:Agent.helper", "", options={"detail": "{x.number}"}),
    )
    drain_completed_steps()

    shop().Agent().run("rm", times=3)
    shop().plan("x")
    shop().Agent.helper(1)

    assert [record.detail for record in drain_completed_steps()] == ["alpha {rm} 3", "as written", None]


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("shop.agent:Agent", "is a class; name the method that does the work, for instance its __call__"),
        ("shop.agent:Agent.shout", "is a property; a step is a function or a method"),
        ("shop.agent:NUMBER", "is of type int, not a function"),
        ("shop.agent:Agnet.run", "is not there: shop.agent has no 'Agnet'; did you mean 'Agent'?"),
        ("shop.agent:Agent.rnu", "is not there: shop.agent.Agent has no 'rnu'; did you mean 'run'?"),
        ("shop.agent:zzz*", "is not there: no function that is defined in shop.agent fits 'zzz*'"),
    ],
)
def test_what_can_not_be_a_step_is_told_and_left_alone(declare, shop, caplog, target, why):
    targets = declare(target)

    with caplog.at_level(logging.WARNING, "otel_harn_steps"):
        assert shop().Agent().run() == "search 1"

    assert caplog.messages == [f"harn-steps.toml:1: target {target!r} {why}; it is not a step"]
    assert targets.unseen() == []


def test_a_module_that_is_never_imported_stays_so_and_is_known(declare, shop_source):
    targets = declare("shop.agent:plan", "nowhere.at_all:plan")

    assert "shop" not in sys.modules
    assert [step.target for step in targets.unseen()] == ["shop.agent:plan", "nowhere.at_all:plan"]


def test_everything_is_put_back(declare, shop, finished):
    targets = declare("shop.agent:*", "shop.agent:Agent.*", "shop.agent:Loud.run", "shop.agent:cached")
    module = shop()
    assert "run" in vars(module.Loud)

    targets.unwrap()

    assert not hasattr(module.plan, "__wrapped__")
    assert "run" not in vars(module.Loud)
    assert isinstance(vars(module.Agent)["make"], classmethod)
    module.plan("x")
    module.Agent.make().run()
    assert finished() == []


def test_nothing_is_wrapped_after_everything_was_put_back(declare, shop, finished):
    declare("shop.agent:plan").unwrap()

    shop().plan("x")

    assert finished() == []


DECORATED = """
from otel_harn_steps import step

@step("by_code", max_tokens=5)
def plan(question): return "plan " + question
@step("by_code")
async def aplan(question): return "plan " + question
@step("by_code")
def words(text): yield from text.split()
@step("by_code")
async def awords(text): yield text
class Agent:
    @step
    def run(self): return "run"
    @classmethod
    @step
    def make(cls): return "made"
"""


async def test_a_decorated_function_that_is_a_target_is_one_step_and_the_file_says_which(
    declare, shop_source, finished
):
    (shop_source / "shop" / "coded.py").write_text(DECORATED)
    declare(*(PlannedStep(f"shop.coded:{name}", "harn-steps.toml:1", name) for name in ("plan", "aplan", "words")))
    declare(PlannedStep("shop.coded:awords", "", "awords"), PlannedStep("shop.coded:Agent.*", "", "method"))
    coded = importlib.import_module("shop.coded")

    assert (coded.plan("x"), await coded.aplan("x"), list(coded.words("a b"))) == ("plan x", "plan x", ["a", "b"])
    assert [word async for word in coded.awords("a")] == ["a"]
    assert (coded.Agent().run(), coded.Agent.make()) == ("run", "made")
    assert finished() == [
        ("plan", "plan"),
        ("aplan", "aplan"),
        ("words", "words"),
        ("awords", "awords"),
        ("method", "Agent.run"),
        ("method", "Agent.make"),
    ]


def test_what_the_decorator_said_is_back_when_the_file_is_no_more_in_force(declare, shop_source, finished):
    (shop_source / "shop" / "coded.py").write_text(DECORATED)
    targets = declare(PlannedStep("shop.coded:plan", "harn-steps.toml:1", "by_file"))
    coded = importlib.import_module("shop.coded")
    targets.unwrap()

    coded.plan("x")

    assert finished() == [("by_code", "plan")]


def test_a_step_of_the_program_itself_that_is_a_target_is_one_step(tmp_path):
    (tmp_path / "app.py").write_text(DECORATED + 'plan("x")\n')
    (tmp_path / "harn-steps.toml").write_text('[[steps]]\ntarget = "__main__:plan"\nname = "by_file"\n')

    done = subprocess.run(
        [sys.executable, "-m", "otel_harn_steps.cli", "run", "--step-records", "out", "--", sys.executable, "app.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["name"] for line in (tmp_path / "out").read_text().splitlines()] == ["by_file"]
