"""Wrappers that others put around the same methods, before us or after us: what is stripped, kept, and put back."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import openai
import openai.resources.chat.completions as chat
import pytest
import wrapt
from openai._base_client import AsyncAPIClient, SyncAPIClient
from opentelemetry.instrumentation.utils import unwrap

import otel_harn_steps
from otel_harn_steps.testing import ReplayServer
from tests.replay.answers import recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.ways import Call

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
STREAM = case("openai.chat-completions.stream.async_chat_completion_streaming")
CLIENT_CLASSES = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}
BASE_CLASSES = {"sync": SyncAPIClient, "async": AsyncAPIClient}
COMPLETIONS = {"sync": chat.Completions, "async": chat.AsyncCompletions}


def transparent(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def closure_around(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The client's own methods, whatever a test does."""
    classes = (*CLIENT_CLASSES.values(), *BASE_CLASSES.values(), *COMPLETIONS.values())
    before = [dict(vars(each)) for each in classes]
    yield
    otel_harn_steps.uninstrument()
    otel_harn_steps.reset_steps()
    for each, names in zip(classes, before, strict=True):
        for name in set(vars(each)) - set(names):
            delattr(each, name)
        for name in ("request", "create"):
            if name in names and vars(each)[name] is not names[name]:
                setattr(each, name, names[name])


class Caller:
    """Makes one recorded call in a step."""

    def __init__(self, clients: Clients, server: ReplayServer) -> None:
        self.mode = clients.mode
        self._clients = clients
        self._server = server

    @property
    def client_class(self) -> Any:
        return CLIENT_CLASSES[self.mode.name]

    @property
    def base_class(self) -> Any:
        return BASE_CLASSES[self.mode.name]

    @property
    def completions(self) -> Any:
        return COMPLETIONS[self.mode.name]

    def call(self, called: Case = CHAT) -> tuple[Call, Any]:
        exchange = self._server.serve(recorded(called))
        client = self._clients.for_case(called, exchange.url_at(called.host))
        return Call(called, client, self.mode), exchange

    def bill(self, call: Call) -> Bill:
        async def in_a_step() -> None:
            with otel_harn_steps.step("s"):
                if call.case.stream:
                    async for _ in self.mode.each(await call.make(call.method)):
                        pass
                else:
                    await call.make(call.method)

        self.mode.run(in_a_step())
        (record,) = otel_harn_steps.drain_completed_steps()
        assert record.observed_calls == 0
        return Bill.of_record(record)


@pytest.fixture
def caller(clients: Clients, replay: ReplayServer) -> Caller:
    return Caller(clients, replay)


PLAIN_AND_STREAM = pytest.mark.parametrize("called", [CHAT, STREAM], ids=["plain", "stream"])


@pytest.mark.parametrize("first", ["us", "them"])
def test_what_strips_the_outermost_wrapper_strips_theirs(first: str, caller: Caller) -> None:
    original = vars(caller.completions)["create"]
    if first == "us":
        otel_harn_steps.instrument()
    caller.completions.create = wrapt.FunctionWrapper(vars(caller.completions)["create"], transparent)
    if first == "them":
        otel_harn_steps.instrument()
    unwrap(caller.completions, "create")
    ours = vars(caller.completions)["create"]
    assert ours is not original
    assert ours.__wrapped__ is original


@pytest.mark.parametrize("first", ["us", "them"])
def test_the_steps_model_still_stands_in_once_they_have_gone(first: str, caller: Caller) -> None:
    if first == "us":
        otel_harn_steps.instrument()
    caller.completions.create = wrapt.FunctionWrapper(vars(caller.completions)["create"], transparent)
    if first == "them":
        otel_harn_steps.instrument()
    unwrap(caller.completions, "create")
    call, exchange = caller.call()

    async def in_a_step() -> None:
        with otel_harn_steps.step("s", model="gpt-4o-mini"):
            await call.make(call.method, without=["model"])

    caller.mode.run(in_a_step())
    assert exchange.requests[0].json()["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    "around", [lambda f: wrapt.FunctionWrapper(f, transparent), closure_around], ids=["wrapt", "plain"]
)
def test_ours_goes_below_a_wrapper_that_was_there_before(around: Any, caller: Caller) -> None:
    theirs = caller.client_class.request = around(caller.base_class.request)
    otel_harn_steps.instrument()
    assert vars(caller.client_class)["request"] is theirs
    assert caller.bill(caller.call()[0]) == bill_of(CHAT)


@pytest.mark.parametrize(
    "around", [lambda f: wrapt.FunctionWrapper(f, transparent), closure_around], ids=["wrapt", "plain"]
)
@pytest.mark.parametrize("first", ["us", "them"])
def test_uninstrument_takes_ours_out_from_below_theirs(first: str, around: Any, caller: Caller) -> None:
    original = caller.base_class.request
    if first == "us":
        otel_harn_steps.instrument()
    theirs = caller.client_class.request = around(caller.client_class.request)
    if first == "them":
        otel_harn_steps.instrument()
    otel_harn_steps.uninstrument()
    held = theirs.__closure__[0].cell_contents if around is closure_around else theirs.__wrapped__
    assert held is original
    assert vars(caller.base_class)["request"] is original


@PLAIN_AND_STREAM
def test_a_method_put_back_from_before_us_is_billed(called: Case, caller: Caller) -> None:
    original = caller.base_class.request
    otel_harn_steps.instrument()
    caller.client_class.request = original
    assert caller.bill(caller.call(called)[0]) == bill_of(called)
    assert caller.bill(caller.call(called)[0]) == bill_of(called)


@PLAIN_AND_STREAM
def test_a_clients_method_captured_before_us_is_billed(called: Case, caller: Caller) -> None:
    call, _ = caller.call(called)
    call.client.request = closure_around(call.client.request)
    otel_harn_steps.instrument()
    assert caller.bill(call) == bill_of(called)


def test_a_clients_method_captured_before_us_is_refused_to_an_exhausted_step(caller: Caller) -> None:
    call, exchange = caller.call()
    call.client.request = closure_around(call.client.request)
    otel_harn_steps.instrument()
    refused = []

    async def in_a_step() -> None:
        with otel_harn_steps.step("s", max_tokens=1, error_boundary="continue"):
            for _ in range(2):
                try:
                    await call.make(call.method)
                except otel_harn_steps.StepBudgetExceeded as error:
                    refused.append(error.response is None)

    caller.mode.run(in_a_step())
    assert refused == [False, True]
    assert len(exchange.requests) == 1


@pytest.mark.parametrize("program", ["OO", "OoO", "OOo", "OooO", "oOoOO"])
def test_coming_and_going_in_any_order_leaves_one_wrapper_or_none(program: str, caller: Caller) -> None:
    original = vars(caller.base_class)["request"]
    for letter in program:
        (otel_harn_steps.instrument if letter == "O" else otel_harn_steps.uninstrument)()
    now = vars(caller.base_class)["request"]
    assert (now if program.endswith("o") else now.__wrapped__) is original


def test_the_clients_own_decorators_are_not_wrappers_of_others(caller: Caller) -> None:
    """`create` checks its arguments in a decorator of its own. Ours must come before that: it fills in the model."""
    otel_harn_steps.instrument()
    assert vars(caller.completions)["create"].__wrapped__.__module__.startswith("openai")


def test_once_a_call_has_passed_us_by_its_class_is_patched_again(caller: Caller) -> None:
    """So that the next stream is asked for its usage again."""
    original = caller.base_class.request
    otel_harn_steps.instrument()
    caller.client_class.request = original
    caller.bill(caller.call()[0])
    assert vars(caller.client_class)["request"].__wrapped__ is original
