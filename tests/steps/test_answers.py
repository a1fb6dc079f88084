"""A step over an endpoint that streams its answer lasts as long as the body is sent: Starlette, FastAPI, Django, Flask."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import django
import flask
import pytest
from django.conf import settings as django_settings
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import StreamingResponse
from werkzeug.utils import send_file

from otel_harn_steps import StepBudgetExceeded, current_step, drain_completed_steps, step
from tests.steps.spending import spend

PIECES = (b"one ", b"two ", b"three")


def pieces(seen=None):
    for each in PIECES:
        spend(7)
        if seen is not None:
            seen.append(current_step())
        yield each


async def pieces_async(seen=None):
    for each in PIECES:
        spend(7)
        if seen is not None:
            seen.append(current_step())
        await asyncio.sleep(0)
        yield each


def the_record():
    (record,) = drain_completed_steps()
    return record


@pytest.fixture(autouse=True)
def no_token_is_misused(caplog):
    yield
    assert "Failed to detach context" not in caplog.text


# -- Starlette and FastAPI ---------------------------------------------------------------------------------------------


def app_with(body, *, is_async=True, **options):
    app = FastAPI()

    async def ask():
        spend(1)
        return StreamingResponse(body())

    def ask_sync():
        return asyncio.run(ask())

    app.get("/ask")(step("answer", **options)(ask if is_async else ask_sync))
    return app


@pytest.mark.parametrize("body", [pieces, pieces_async])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_starlette_response_is_sent_within_the_step(steps, body, is_async):
    with TestClient(app_with(body, is_async=is_async)) as client:
        assert client.get("/ask").content == b"".join(PIECES)
    record = the_record()
    assert (record.name, record.status, record.llm_calls) == ("answer", "completed", 4)


def test_requests_at_the_same_time_have_steps_of_their_own(steps):
    async def main():
        app = app_with(pieces_async)
        return await asyncio.gather(*(send(app) for _ in range(5)))

    asyncio.run(main())
    records = drain_completed_steps()
    assert [(record.status, record.llm_calls) for record in records] == [("completed", 4)] * 5


def test_middleware_sees_the_response_as_without_the_step(steps):
    app = app_with(pieces_async)
    app.add_middleware(GZipMiddleware, minimum_size=1)

    @app.middleware("http")
    async def pass_on(request, call_next):
        return await call_next(request)

    with TestClient(app) as client:
        response = client.get("/ask")
    assert (response.content, response.headers["content-encoding"]) == (b"".join(PIECES), "gzip")
    assert the_record().llm_calls == 4


def test_the_step_is_current_in_the_body_alone(steps):
    seen = []

    async def main():
        response = await step("answer")(answer)()
        between = [current_step()]
        async for _ in response.body_iterator:
            between.append(current_step())
        return between

    async def answer():
        return StreamingResponse(pieces_async(seen))

    assert asyncio.run(main()) == [None] * 4
    assert [active.definition.name for active in seen] == ["answer"] * 3


async def send(app, *, received=None, scope=None) -> list[Any]:
    """What an ASGI server would send; `received`: it goes away after as many messages."""
    messages: list[Any] = []
    is_gone = asyncio.Event()

    async def receive():
        if received is None:
            await asyncio.sleep(3600)
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def take(message):
        messages.append(message)
        if len(messages) == received:
            is_gone.set()
            await anyio.sleep(3600)

    at = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "GET", "path": "/ask"}
    await app({**at, "headers": [], "query_string": b"", "raw_path": b"/ask", **(scope or {})}, receive, take)
    return messages


def test_a_client_that_disconnects_cancels_the_step(steps):
    asyncio.run(send(app_with(pieces_async), received=2))
    gc.collect()
    record = the_record()
    assert (record.status, record.llm_calls) == ("cancelled", 2)


def test_a_response_that_is_dropped_unsent_cancels_the_step(steps):
    async def answer():
        return StreamingResponse(pieces_async())

    response = asyncio.run(step("answer")(answer)())
    assert drain_completed_steps() == []
    del response
    gc.collect()
    assert the_record().status == "cancelled"
    assert current_step() is None


def test_a_budget_error_ends_the_body(steps):
    with TestClient(app_with(pieces_async, max_tokens=10)) as client, pytest.raises(StepBudgetExceeded):
        client.get("/ask")
    record = the_record()
    assert (record.status, record.breach) == ("failed", "max_tokens")


def test_a_boundary_may_end_the_body_early(steps):
    with TestClient(app_with(pieces_async, max_tokens=10, error_boundary="continue")) as client:
        assert client.get("/ask").content == PIECES[0]
    assert the_record().status == "skipped"


def test_a_body_that_fails_is_on_the_record(steps):
    async def broken():
        yield b"one "
        raise LookupError("no such page")

    with TestClient(app_with(broken)) as client, pytest.raises(LookupError):
        client.get("/ask")
    assert (the_record().status) == "failed"


def test_a_response_that_is_whole_ends_the_step_at_once(steps):
    app = FastAPI()
    app.get("/ask")(step("answer")(lambda: {"answer": 42}))
    with TestClient(app) as client:
        assert client.get("/ask").json() == {"answer": 42}
    assert the_record().status == "completed"


def test_steps_within_each_other_both_last_as_long_as_the_body(steps):
    app = FastAPI()

    @app.get("/ask")
    @step("outer")
    @step("inner")
    async def ask():
        return StreamingResponse(pieces_async())

    with TestClient(app) as client:
        assert client.get("/ask").content == b"".join(PIECES)
    assert [(record.name, record.llm_calls) for record in drain_completed_steps()] == [("inner", 3), ("outer", 0)]


# -- Flask and Werkzeug ------------------------------------------------------------------------------------------------


def flask_app(endpoint, **options):
    app = flask.Flask("app")
    app.testing = True
    app.route("/ask")(step("answer", **options)(endpoint))
    return app


FLASK = {
    "a response": lambda: flask.Response(pieces()),
    "a generator": lambda: pieces(),
    "with the request's context": lambda: flask.stream_with_context(pieces()),
    "a response with the request's context": lambda: flask.Response(flask.stream_with_context(pieces())),
}


@pytest.mark.parametrize("endpoint", FLASK.values(), ids=FLASK)
def test_a_flask_response_is_sent_within_the_step(steps, endpoint):
    assert flask_app(endpoint).test_client().get("/ask").data == b"".join(PIECES)
    record = the_record()
    assert (record.status, record.llm_calls) == ("completed", 3)


@pytest.mark.parametrize("endpoint", FLASK.values(), ids=FLASK)
def test_a_client_of_flask_that_disconnects_cancels_the_step(steps, endpoint):
    response = flask_app(endpoint).test_client().get("/ask", buffered=False)
    assert next(response.iter_encoded()) == PIECES[0]
    response.close()
    del response
    gc.collect()
    record = the_record()
    assert (record.status, record.llm_calls) == ("cancelled", 1)


def test_a_response_of_flask_that_is_closed_unsent_closes_its_body(steps):
    class Body:
        is_closed = False

        def __iter__(self):
            return pieces()

        def close(self):
            self.is_closed = True

    body = Body()
    response = step("answer")(lambda: flask.Response(body))()
    response.close()
    assert body.is_closed
    assert the_record().status == "cancelled"


def test_a_response_of_flask_that_is_whole_ends_the_step_at_once(steps):
    response = step("answer")(lambda: flask.Response("42"))()
    assert the_record().status == "completed"
    assert response.response == [b"42"]


def test_a_file_is_left_for_the_server_to_send(steps, tmp_path):
    (tmp_path / "page.txt").write_text("page")
    environ = {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": (wrapper := type("Wrapper", (), {"__init__": init_file}))}
    response = step("answer")(lambda: send_file(tmp_path / "page.txt", environ))()
    assert isinstance(response.response, wrapper)
    response.response.file.close()
    assert the_record().status == "completed"


def init_file(self, file, size=0):
    self.file = file


# -- Django ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def at_work():
    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[], SECRET_KEY="none")
        django.setup()


urlpatterns: list[Any] = []


def test_a_django_response_is_sent_within_the_step(steps):
    view = step("answer")(lambda request: StreamingHttpResponse(pieces()))
    response = view(RequestFactory().get("/ask"))
    assert (response.is_async, b"".join(response), response.streaming) == (False, b"".join(PIECES), True)
    response.close()
    record = the_record()
    assert (record.status, record.llm_calls) == ("completed", 3)


def test_an_async_django_response_is_sent_within_the_step(steps):
    async def ask(request):
        return StreamingHttpResponse(pieces_async())

    async def main():
        response = await step("answer")(ask)(AsyncRequestFactory().get("/ask"))
        return response.is_async, [piece async for piece in response]

    assert asyncio.run(main()) == (True, list(PIECES))
    assert the_record().llm_calls == 3


def test_a_client_of_django_that_disconnects_cancels_the_step(steps):
    response = step("answer")(lambda: StreamingHttpResponse(pieces()))()
    assert next(iter(response)) == PIECES[0]
    response.close()
    record = the_record()
    assert (record.status, record.llm_calls) == ("cancelled", 1)


def test_an_async_response_of_django_that_is_left_cancels_the_step(steps):
    async def main():
        response = step("answer")(lambda: StreamingHttpResponse(pieces_async()))()
        async for _ in response:
            break
        del response
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    record = the_record()
    assert (record.status, record.llm_calls) == ("cancelled", 1)


def test_a_file_of_django_is_left_for_the_server_to_send(steps, tmp_path):
    (tmp_path / "page.txt").write_text("page")
    file = (tmp_path / "page.txt").open("rb")
    response = step("answer")(lambda: FileResponse(file))()
    assert response.file_to_stream is file
    assert the_record().status == "completed"
    response.close()


def test_a_response_of_django_that_is_whole_ends_the_step_at_once(steps):
    step("answer")(lambda: HttpResponse("42"))()
    assert the_record().status == "completed"
