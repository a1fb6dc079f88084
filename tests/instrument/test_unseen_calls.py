"""`instrument(unseen_calls=True)`: requests to models that no patched client made are counted and named."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

import otel_harn_steps
from otel_harn_steps import UnseenCalls, step, unseen_calls
from otel_harn_steps._instrument.model_requests import is_model_host, model_path
from otel_harn_steps._instrument.unseen_counts import watch_unseen
from otel_harn_steps.testing import Answer, ReplayServer
from tests.instrumented import instrumented as _instrumented
from tests.replay.answers import recorded
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import Case, case
from tests.replay.clients import Clients
from tests.replay.ways import Call

CHAT = case("openai.chat-completions.sync_chat_completions_version_latest")
MESSAGES = case("anthropic.messages.TestTokenCounts.anthropic")
BOTH = pytest.mark.parametrize("plain", [CHAT, MESSAGES], ids=lambda plain: plain.id)
IN_A_STEP_OR_NOT = pytest.mark.parametrize("around", [lambda: step("s"), nullcontext], ids=["step", "no step"])
BODY = b'{"answer": 42}'

Send = Callable[[str, str, str], bytes]
"""Sends a request of a method to a URL through a proxy. What came back."""


@pytest.fixture
def watched() -> Iterator[ModuleType]:
    with _instrumented(unseen_calls=True) as package:
        yield package


# -- the HTTP libraries ------------------------------------------------------------------------------------------------


def by_httpx(library: ModuleType) -> Send:
    def send(method: str, url: str, proxy: str) -> bytes:
        with library.Client(proxy=proxy, trust_env=False, verify=False, follow_redirects=True) as client:
            return bytes(client.request(method, url).content)

    return send


def by_httpx_async(library: ModuleType) -> Send:
    def send(method: str, url: str, proxy: str) -> bytes:
        async def go() -> bytes:
            async with library.AsyncClient(proxy=proxy, trust_env=False, verify=False, follow_redirects=True) as client:
                return bytes((await client.request(method, url)).content)

        return asyncio.run(go())

    return send


def by_httpx_stream(method: str, url: str, proxy: str) -> bytes:
    with httpx.Client(proxy=proxy, trust_env=False, verify=False, follow_redirects=True) as client:
        with client.stream(method, url) as response:
            return b"".join(response.iter_bytes())


def by_requests(method: str, url: str, proxy: str) -> bytes:
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        return bytes(session.request(method, url, proxies={"http": proxy}, timeout=10).content)


def by_urllib3(method: str, url: str, proxy: str) -> bytes:
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.ProxyManager(proxy) as pool:
        return bytes(pool.request(method, url).data)


def by_aiohttp(method: str, url: str, proxy: str) -> bytes:
    aiohttp = pytest.importorskip("aiohttp")

    async def go() -> bytes:
        host, _, path = url.removeprefix("http://").partition("/")
        async with aiohttp.ClientSession(f"http://{host}/", proxy=proxy) as session:
            async with session.request(method, f"/{path}") as response:
                return bytes(await response.read())

    return asyncio.run(go())


Library = tuple[str, Send]
"""The name in `unseen_calls()`, and how to send with it."""

LIBRARIES: dict[str, Library] = {
    "httpx": ("httpx", by_httpx(httpx)),
    "httpx async": ("httpx", by_httpx_async(httpx)),
    "httpx stream": ("httpx", by_httpx_stream),
    "httpx2": ("httpx2", by_httpx(httpx2)),
    "httpx2 async": ("httpx2", by_httpx_async(httpx2)),
    "requests": ("requests", by_requests),
    "urllib3": ("urllib3", by_urllib3),
    "aiohttp": ("aiohttp", by_aiohttp),
}
EACH = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)


def said(body: bytes = BODY, status: int = 200, **headers: str) -> Answer:
    return Answer(status, (body,), headers=headers)


@EACH
@IN_A_STEP_OR_NOT
def test_a_call_by_an_http_library_is_counted_and_named_once(
    library: Library, around: Any, watched: ModuleType, replay: ReplayServer, caplog: pytest.LogCaptureFixture
) -> None:
    name, send = library
    url = replay.serve(said()).url_at("api.openai.com") + "/v1/chat/completions?key=secret"
    with around():
        assert [send("POST", url, replay.address) for _ in range(3)] == [BODY] * 3
    assert unseen_calls() == [UnseenCalls("api.openai.com", "/chat/completions", name, 3)]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"api.openai.com was sent by {name} " in warning
    assert "secret" not in warning


@EACH
@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "api.openai.com/v1/models"),
        ("GET", "api.openai.com/v1/chat/completions"),
        ("POST", "api.openai.com/v1/files"),
        ("POST", "api.openai.com.example.org/v1/chat/completions"),
        ("POST", "localhost/v1/chat/completions"),
    ],
    ids=["models", "no POST", "no model", "another host", "a local server"],
)
def test_other_requests_are_not_counted(
    library: Library, method: str, url: str, watched: ModuleType, replay: ReplayServer
) -> None:
    host, _, path = url.partition("/")
    assert library[1](method, f"{replay.serve(said()).url_at(host)}/{path}", replay.address) == BODY
    assert unseen_calls() == []


@EACH
def test_a_redirect_is_followed_and_counted_once(library: Library, watched: ModuleType, replay: ReplayServer) -> None:
    target = replay.serve(said())
    moved = said(b"", 307, location=target.url_at("api.openai.com") + "/v1/responses")
    url = replay.serve(moved).url_at("api.openai.com") + "/v1/responses"
    assert library[1]("POST", url, replay.address) == BODY
    assert (len(target.requests), [each.count for each in unseen_calls()]) == (1, [1])


@EACH
def test_after_uninstrument_nothing_is_counted(library: Library, replay: ReplayServer) -> None:
    url = replay.serve(said()).url_at("api.openai.com") + "/v1/responses"
    otel_harn_steps.instrument(unseen_calls=True)
    otel_harn_steps.uninstrument()
    assert library[1]("POST", url, replay.address) == BODY
    assert unseen_calls() == []


def test_uninstrument_puts_everything_back() -> None:
    owners = (httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient)
    before = [vars(owner)["send"] for owner in owners]
    otel_harn_steps.instrument(unseen_calls=True)
    during = [vars(owner)["send"] for owner in owners]
    otel_harn_steps.uninstrument()
    assert all(now is not then for now, then in zip(during, before, strict=True))
    assert all(vars(owner)["send"] is then for owner, then in zip(owners, before, strict=True))


def test_it_is_off_by_default(steps: ModuleType, replay: ReplayServer) -> None:
    by_httpx(httpx)("POST", replay.serve(said()).url_at("api.openai.com") + "/v1/responses", replay.address)
    assert unseen_calls() == []


@EACH
def test_an_error_is_the_librarys_own(library: Library, watched: ModuleType) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        proxy = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ours = error_of(library[1], proxy)
        assert [each.host for each in unseen_calls()] == ["api.openai.com"]
        watched.uninstrument()
        assert ours is error_of(library[1], proxy)


def error_of(send: Send, proxy: str) -> type[Exception]:
    try:
        send("POST", "http://api.openai.com/v1/responses", proxy)
    except Exception as error:  # noqa: BLE001 -- each library has its own
        return type(error)
    raise AssertionError("no error")


def test_wrong_arguments_and_urls_fail_as_without_us(watched: ModuleType) -> None:
    with httpx.Client() as client:
        with pytest.raises(TypeError, match="send"):
            client.send()  # type: ignore[call-arg]
    requests = pytest.importorskip("requests")
    with pytest.raises(requests.exceptions.InvalidURL):
        requests.post("http://[api.openai.com/v1/responses", timeout=1)


# -- clients -----------------------------------------------------------------------------------------------------------


async def call_in(around: Any, plain: Case, clients: Clients, replay: ReplayServer, *, retries: int = 0) -> None:
    script = (*[said(b"{}", 500, **{"retry-after-ms": "1"})] * retries, recorded(plain))
    exchange = replay.serve(*script)
    client = clients.for_case(plain, exchange.url_at(plain.host), max_retries=retries)
    call = Call(plain, client, clients.mode)
    with around():
        await call.make(call.method)
    assert len(exchange.requests) == 1 + retries


@BOTH
@IN_A_STEP_OR_NOT
def test_a_call_of_a_patched_client_is_seen_with_its_retries(
    plain: Case, around: Any, clients: Clients, replay: ReplayServer, watched: ModuleType
) -> None:
    clients.mode.run(call_in(around, plain, clients, replay, retries=1))
    assert unseen_calls() == []
    if around is not nullcontext:
        (record,) = watched.drain_completed_steps()
        assert Bill.of_record(record) == bill_of(plain)


@BOTH
@IN_A_STEP_OR_NOT
def test_a_call_of_a_client_that_is_not_patched_is_counted_and_named(
    plain: Case, around: Any, clients: Clients, replay: ReplayServer, caplog: pytest.LogCaptureFixture
) -> None:
    other = "anthropic" if plain is CHAT else "openai"
    end = "/chat/completions" if plain is CHAT else "/messages"
    with _instrumented(clients=[other], unseen_calls=True):
        clients.mode.run(call_in(around, plain, clients, replay))
        (seen,) = unseen_calls()
    assert (seen.host, seen.path, seen.count) == (plain.host, end, 1)
    assert seen.library in ("httpx", "httpx2")
    assert plain.host in caplog.text


def test_a_client_whose_transport_is_another_library_is_counted_once(replay: ReplayServer) -> None:
    pytest.importorskip("aiohttp")
    import anthropic

    url = replay.serve(recorded(MESSAGES)).url_at("api.anthropic.com")

    async def go() -> None:
        http = anthropic.DefaultAioHttpClient(proxy=replay.address, trust_env=False)
        async with anthropic.AsyncAnthropic(api_key="test", base_url=url, http_client=http) as client:
            await client.messages.create(model="claude-3-5-haiku-latest", max_tokens=10, messages=[])

    with _instrumented(clients=["openai"], unseen_calls=True):
        asyncio.run(go())
        assert [each.count for each in unseen_calls()] == [1]
    with _instrumented(unseen_calls=True), step("s"):
        asyncio.run(go())
        assert unseen_calls() == []


# -- what becomes of the counts ----------------------------------------------------------------------------------------


def post(replay: ReplayServer, host: str = "api.openai.com", path: str = "/v1/responses") -> None:
    by_httpx(httpx)("POST", replay.serve(said()).url_at(host) + path, replay.address)


def test_the_most_frequent_is_the_first(watched: ModuleType, replay: ReplayServer) -> None:
    post(replay)
    for _ in range(2):
        post(replay, "generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent")
    post(replay, path="/v1/embeddings")
    assert [(each.host, each.path, each.count) for each in unseen_calls()] == [
        ("generativelanguage.googleapis.com", ":generateContent", 2),
        ("api.openai.com", "/responses", 1),
        ("api.openai.com", "/embeddings", 1),
    ]


def test_a_watcher_gets_host_and_library_of_each_request(watched: ModuleType, replay: ReplayServer) -> None:
    seen: list[tuple[str, str]] = []
    watch_unseen(lambda host, library: seen.append((host, library)))
    try:
        post(replay)
        post(replay, path="/v1/embeddings")
        post(replay, "api.mistral.ai", "/v1/chat/completions")
        by_urllib3("POST", replay.serve(said()).url_at("api.openai.com") + "/v1/responses", replay.address)
    finally:
        watch_unseen(None)
    assert seen == [("api.openai.com", "httpx")] * 2 + [("api.mistral.ai", "httpx"), ("api.openai.com", "urllib3")]


def test_threads_count_exactly(watched: ModuleType, replay: ReplayServer) -> None:
    threads = [threading.Thread(target=lambda: [post(replay) for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.count for each in unseen_calls()] == [40]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_from_zero(watched: ModuleType, replay: ReplayServer) -> None:
    post(replay)
    child = os.fork()
    if not child:
        os._exit(0 if unseen_calls() == [] else 1)
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), len(unseen_calls())) == (0, 1)


# -- what is known -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("api.openai.com", True),
        ("eu.api.openai.com", True),
        ("api.anthropic.com", True),
        ("my-resource.openai.azure.com", True),
        ("us-central1-aiplatform.googleapis.com", True),
        ("bedrock-runtime.us-east-1.amazonaws.com", True),
        ("my-bucket.s3.amazonaws.com", False),
        ("abc.execute-api.us-east-1.amazonaws.com", False),
        ("storage.googleapis.com", False),
        ("openai.com", False),
        ("notapi.openai.com.example.org", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_hosts(host: str, is_known: bool) -> None:
    assert is_model_host(host) is is_known


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/openai/deployments/mine/chat/completions?api-version=1", "/chat/completions"),
        ("/v1/fim/completions/", "/fim/completions"),
        ("/v1/messages", "/messages"),
        ("/v1/messages/count_tokens", None),
        ("/v1/messages/batches", "/messages/batches"),
        ("/v1/threads/thread_1/messages", None),
        ("/v1/threads/thread_1/runs", "/runs"),
        ("/v1/threads/runs", "/runs"),
        ("/v1/responses/resp_1/cancel", None),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", ":streamGenerateContent"),
        ("/v1beta/models/gemini-2.5-flash:countTokens", None),
        ("/v1/projects/p/locations/l/endpoints/predict", None),
        ("/model/anthropic.claude-v2:0/converse-stream", "/converse-stream"),
        ("/v2/chat", "/chat"),
        ("/v2/rerank", "/rerank"),
        ("/v1/files", None),
        ("/", None),
        ("", None),
    ],
)
def test_paths(path: str, end: str | None) -> None:
    assert model_path(path) == end
