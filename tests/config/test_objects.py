"""Targets that are objects of a framework: steps by the function that the framework calls."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_harn_steps.config._targets import Targets

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def shop_with(shop_source: Path) -> Callable[[str], None]:
    """Writes the module `shop.agent`."""

    def write(text: str) -> None:
        (shop_source / "shop" / "agent.py").write_text(text)

    return write


def test_a_click_command_is_a_step_also_as_part_of_a_group(declare, shop_with, finished):
    testing = pytest.importorskip("click.testing")
    shop_with(
        "import click\n"
        "@click.group()\ndef cli(): pass\n"
        "@cli.command()\n@click.argument('word')\ndef search(word): click.echo('found ' + word)\n"
    )
    targets: Targets = declare("shop.agent:search")
    shop = importlib.import_module("shop.agent")

    done = testing.CliRunner().invoke(shop.cli, ["search", "x"])
    alone = testing.CliRunner().invoke(shop.search, ["x"])

    assert (done.output, alone.output) == ("found x\n", "found x\n")
    assert finished() == [("search", "search")] * 2

    targets.unwrap()
    testing.CliRunner().invoke(shop.cli, ["search", "x"])
    assert finished() == []


def test_a_click_group_without_a_function_is_refused(declare, shop_with, caplog):
    pytest.importorskip("click")
    shop_with("import click\ncli = click.Group('cli')\n")
    declare("shop.agent:cli")

    with caplog.at_level(logging.WARNING):
        importlib.import_module("shop.agent")

    [record] = caplog.records
    assert "'shop.agent:cli' is a Group without a function of its own" in record.message
    assert "its `callback`" in record.message


@pytest.mark.parametrize("options", ["name='plain'", "name='bound', bind=True"])
def test_a_celery_task_is_a_step_where_a_worker_runs_it(declare, shop_with, finished, options):
    pytest.importorskip("celery")
    body = (
        "def search(self, word): return 'found ' + word"
        if "bind" in options
        else "def search(word): return 'found ' + word"
    )
    shop_with(f"import celery\napp = celery.Celery('shop', set_as_current=False)\n@app.task({options})\n{body}\n")
    declare("shop.agent:search")
    shop = importlib.import_module("shop.agent")
    from celery.app.trace import build_tracer

    tracer = build_tracer(shop.search.name, shop.app.tasks[shop.search.name], app=shop.app, eager=True, propagate=True)

    assert tracer("id", ("x",), {}).retval == "found x"
    assert shop.search("x") == "found x"
    assert shop.search.apply(args=("x",)).get() == "found x"
    assert finished() == [("search", "search")] * 3


async def test_an_asgi_app_is_a_step_and_a_server_still_sees_an_asgi_app(declare, shop_with, finished):
    uvicorn = pytest.importorskip("uvicorn")
    shop_with(
        "class App:\n    async def __call__(self, scope, receive, send): await send(scope['type'])\napp = App()\n"
    )
    declare("shop.agent:app")
    importlib.import_module("shop.agent")
    sent = []

    async def send(message):
        sent.append(message)

    config = uvicorn.Config("shop.agent:app", interface="auto")
    config.load()
    assert config.interface == "asgi3"

    await sys.modules["shop.agent"].app({"type": "http"}, None, send)
    assert (sent, finished()) == (["http"], [("app", "App.__call__")])
