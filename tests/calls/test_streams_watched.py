"""Streams of every make are watched without a difference: the client's own object, a generator, or what looks like it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any, Final, Self

import pytest

from otel_harn_steps._calls.client import Call, ClientAdapter, ParsedResponse, Part, Request, Seam
from otel_harn_steps._cost.usage import Usage
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill

EVENTS = [{"text": "a"}, {"text": "b"}, {"usage": 5}]
BILL = Bill(llm_calls=1, input_tokens=5)


class OwnStream:
    """A client's stream that keeps its iterator where it cannot be replaced."""

    def __init__(self) -> None:
        self.status = 200
        self.is_closed = False
        self.__events = iter(EVENTS)

    def __iter__(self) -> OwnStream:
        return self

    def __next__(self) -> Any:
        return next(self.__events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True


class OwnAsyncStream:
    def __init__(self) -> None:
        self.status = 200
        self.is_closed = False
        self.__events = iter(EVENTS)

    def __aiter__(self) -> OwnAsyncStream:
        return self

    async def __anext__(self) -> Any:
        for event in self.__events:
            return event
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.is_closed = True


class Client:
    """A client library, in one class."""

    sent = 0

    def own(self) -> Any:
        self.sent += 1
        return OwnStream()

    async def own_async(self) -> Any:
        self.sent += 1
        return OwnAsyncStream()

    def generated(self) -> Any:
        self.sent += 1
        return (event for event in EVENTS)

    async def generated_async(self) -> Any:
        self.sent += 1
        return self.late_async()

    def late(self) -> Iterator[Any]:
        self.sent += 1
        yield from EVENTS

    async def late_async(self) -> AsyncIterator[Any]:
        self.sent += 1
        for event in EVENTS:
            yield event

    @contextmanager
    def managed(self) -> Iterator[Any]:
        self.sent += 1
        yield Response(event for event in EVENTS)

    @asynccontextmanager
    async def managed_async(self) -> AsyncIterator[Any]:
        self.sent += 1
        yield Response(self.late_async())


class Response:
    def __init__(self, data: Any) -> None:
        self._data = data


class Router:
    """A library that makes its calls with the client above."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def late(self) -> Iterator[Any]:
        yield from self._client.own()

    async def late_async(self) -> AsyncIterator[Any]:
        async for event in await self._client.own_async():
            yield event

    @contextmanager
    def managed(self) -> Iterator[Any]:
        yield Response(self._client.own())


class FakeAdapter(ClientAdapter):
    name: Final = "fake_client"
    seams: Final = (
        *(Seam("fake_client", f"Client.{method}") for method in ("own", "generated")),
        *(Seam("fake_client", f"Client.{method}", is_async=True) for method in ("own_async", "generated_async")),
        *(Seam("fake_client", f"Client.{method}", deferred=True) for method in ("late", "managed", "managed_async")),
    )

    def request(self, call: Call) -> Request:
        return Request("chat", "fake", "fake-1")

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        return request

    def parse(self, request: Request, answer: Any) -> ParsedResponse:
        used = answer.get("usage")
        return ParsedResponse(None, None, () if used is None else (Part(Usage(used, 0)),))


class RouterAdapter(FakeAdapter):
    name: Final = "fake_router"
    seams: Final = tuple(
        Seam("fake_client", f"Router.{method}", deferred=True) for method in ("late", "late_async", "managed")
    )

    def request(self, call: Call) -> Request:
        return Request("chat", "fake_router", "fake-1", may_delegate=True)


@pytest.fixture
def client(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("fake_client")
    module.Client = type("Client", (Client,), {name: value for name, value in vars(Client).items() if callable(value)})
    module.Router = type("Router", (Router,), {name: value for name, value in vars(Router).items() if callable(value)})
    monkeypatch.setitem(sys.modules, "fake_client", module)
    steps.instrument(providers=[FakeAdapter(), RouterAdapter()])
    return module.Client()


def bill(steps: ModuleType) -> Bill:
    *_, record = steps.drain_completed_steps()
    return Bill.of_record(record)


def test_a_stream_of_its_own_make_looks_like_itself(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        stream = client.own()
        assert isinstance(stream, OwnStream)
        assert not isinstance(stream, AsyncIterator)
        assert (stream.__class__, stream.status, iter(stream)) == (OwnStream, 200, stream)
        assert list(stream) == EVENTS
    assert bill(steps) == BILL


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_a_stream_of_its_own_make_is_copied_and_pickled_as_itself(
    copied: Callable[[Any], Any], client: Any, steps: ModuleType
) -> None:
    with steps.step("s"):
        stream = client.own()
        again = copied(stream)
        assert (type(again), again.status) == (OwnStream, 200)
        assert list(stream) == EVENTS
    assert bill(steps) == BILL


def test_a_stream_of_its_own_make_is_billed_at_the_end_of_its_with_block(client: Any, steps: ModuleType) -> None:
    with steps.step("s") as active:
        with client.own() as stream:
            next(stream)
            assert active.llm_calls == 0
        assert (active.llm_calls, active.unmetered_calls, stream.is_closed) == (1, 1, True)


def test_a_stream_of_its_own_make_is_billed_when_it_is_closed_and_once(client: Any, steps: ModuleType) -> None:
    with steps.step("s") as active:
        stream = client.own()
        stream.close()
        assert (active.llm_calls, stream.is_closed) == (1, True)
        del stream
    assert bill(steps) == UNMETERED_CALL


def test_a_stream_of_its_own_make_is_billed_when_it_is_dropped(client: Any, steps: ModuleType) -> None:
    with steps.step("s") as active:
        stream = client.own()
        next(stream)
        del stream
        assert active.llm_calls == 1


async def test_an_async_stream_of_its_own_make_looks_like_itself(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        async with await client.own_async() as stream:
            assert isinstance(stream, OwnAsyncStream)
            assert not isinstance(stream, Iterator)
            assert [event async for event in stream] == EVENTS
        assert stream.is_closed
    assert bill(steps) == BILL


async def test_an_async_stream_of_its_own_make_is_billed_when_it_is_closed(client: Any, steps: ModuleType) -> None:
    with steps.step("s") as active:
        stream = await client.own_async()
        await stream.close()
        assert (active.llm_calls, stream.is_closed) == (1, True)


def test_a_generator_stays_one_by_its_own_name(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        stream = client.late()
        assert inspect.isgenerator(stream)
        assert stream.__name__ == "late"
        assert list(stream) == EVENTS
    assert bill(steps) == BILL


async def test_an_async_generator_stays_one_by_its_own_name(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        stream = await client.generated_async()
        assert inspect.isasyncgen(stream)
        assert stream.__name__ == "late_async"
        assert [event async for event in stream] == EVENTS
    assert bill(steps) == BILL


def test_a_generator_of_an_answer_that_has_been_asked_for_counts_unread(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        client.generated()
    assert bill(steps) == UNMETERED_CALL


def test_a_generator_that_sends_when_it_is_read_counts_only_then(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        client.late().close()
    assert (client.sent, bill(steps)) == (0, NO_CALL)


def test_a_manager_that_sends_when_it_is_entered_counts_only_then(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        manager = client.managed()
    assert (client.sent, bill(steps)) == (0, NO_CALL)
    with steps.step("s"), manager as response:
        assert list(response._data) == EVENTS
    assert bill(steps) == BILL


async def test_an_async_manager_is_billed_for_what_is_read_in_it(client: Any, steps: ModuleType) -> None:
    with steps.step("s"):
        async with client.managed_async() as response:
            assert [event async for event in response._data] == EVENTS
    assert bill(steps) == BILL


def test_an_error_in_a_managers_block_passes_through(client: Any, steps: ModuleType) -> None:
    with steps.step("s"), pytest.raises(ZeroDivisionError), client.managed():
        raise ZeroDivisionError
    assert bill(steps) == UNMETERED_CALL


def test_an_exhausted_step_sends_nothing_late(client: Any, steps: ModuleType) -> None:
    with pytest.raises(steps.StepBudgetExceeded), steps.step("s", max_tokens=1):
        with pytest.raises(steps.StepBudgetExceeded):
            list(client.late())
        with pytest.raises(steps.StepBudgetExceeded):
            next(client.late())
        with pytest.raises(steps.StepBudgetExceeded), client.managed():
            pass
    assert (client.sent, bill(steps)) == (1, BILL)


async def test_an_error_in_an_async_managers_block_passes_through(client: Any, steps: ModuleType) -> None:
    with steps.step("s"), pytest.raises(ZeroDivisionError):
        async with client.managed_async():
            raise ZeroDivisionError
    assert bill(steps) == UNMETERED_CALL


async def test_a_manager_that_is_entered_outside_of_a_step_is_the_clients_own(client: Any, steps: ModuleType) -> None:
    with client.managed() as response:
        assert list(response._data) == EVENTS
    async with client.managed_async() as response:
        assert [event async for event in response._data] == EVENTS
    assert list(client.late()) == EVENTS
    assert steps.drain_completed_steps() == []


async def test_what_a_router_sends_late_is_billed_once_by_the_client_below(client: Any, steps: ModuleType) -> None:
    router = sys.modules["fake_client"].Router(client)
    with steps.step("generator"):
        assert list(router.late()) == EVENTS
    assert bill(steps) == BILL
    with steps.step("async generator"):
        assert [event async for event in router.late_async()] == EVENTS
    assert bill(steps) == BILL
    with steps.step("manager"), router.managed() as response:
        assert list(response._data) == EVENTS
    assert bill(steps) == BILL
