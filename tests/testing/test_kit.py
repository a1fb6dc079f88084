"""`otel_harn_steps.testing`: what holds for the clients that are known here, and what it says of a wrong provider."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest

import otel_harn_steps
from otel_harn_steps.providers import (
    Call,
    ClientAdapter,
    ParsedResponse,
    Part,
    Request,
    Seam,
    Usage,
    field,
    model_in,
    usage_table,
)
from otel_harn_steps.testing import RecordedCase, check_provider, load_case
from otel_harn_steps.testing._modes import SYNC
from tests.replay.bills import Bill, bill_of
from tests.replay.cases import CASES, Case, case, cases
from tests.replay.checkable import checkable
from tests.replay.native import call, client_for, native_bill, native_cases
from tests.replay.stainless import LIBRARIES, Library
from tests.replay.ways import Call as RecordedCall

# -- the clients that are known here -----------------------------------------------------------------------------------

STAINLESS = (
    Library("openai", "openai", "OpenAI", "openai", {}),
    Library("anthropic", "anthropic", "Anthropic", "anthropic", {}),
    *LIBRARIES,
)


def one_of_each(candidates: Sequence[Case]) -> list[Case]:
    """One plain, one streamed and one rejected case of each provider."""
    usable = [each for each in candidates if each.status >= 400 or each.expected_usage]
    chosen = {(each.provider, each.stream, each.status >= 400): each for each in reversed(usable)}
    return [each for each in candidates if each in chosen.values()]


OF_STAINLESS = [
    (library, each)
    for library in STAINLESS
    if library.is_installed
    for each in one_of_each(cases(providers=[library.provider]))
]
both_modes = pytest.mark.parametrize("mode", ["sync", "async"])


@both_modes
@pytest.mark.parametrize(
    ("library", "recorded"), OF_STAINLESS, ids=[f"{library.name}-{each.id}" for library, each in OF_STAINLESS]
)
def test_a_generated_client_passes(library: Library, recorded: Case, mode: str) -> None:
    prefix = "" if mode == "sync" else "Async"

    def client(base_url: str) -> Any:
        opened = library.make(prefix, base_url=base_url, max_retries=0)
        if mode == "sync":
            return entered(opened)
        return entered_async(opened)

    def calling(opened: Any) -> Callable[..., Any]:
        made = RecordedCall(recorded, opened, SYNC)
        return lambda **_: made.request(made.method)

    @contextmanager
    def entered(client: Any) -> Iterator[Callable[..., Any]]:
        with client:
            yield calling(client)

    @asynccontextmanager
    async def entered_async(client: Any) -> AsyncIterator[Callable[..., Any]]:
        async with client:
            yield calling(client)

    assert "read whole" in check_provider(checkable(recorded, bill_of(recorded)), client)


@pytest.mark.filterwarnings("ignore:Interactions usage is experimental")
@pytest.mark.parametrize(
    "recorded",
    one_of_each([each for each in native_cases() if each.provider != "google_vertex"]),
    ids=lambda each: each.id,
)
def test_a_client_with_a_protocol_of_its_own_passes(recorded: Case) -> None:
    @contextmanager
    def client(base_url: str) -> Iterator[Callable[..., Any]]:
        with client_for(recorded, SYNC, base_url) as opened:
            yield lambda **_: call(opened, recorded, SYNC)

    assert "rejected" in check_provider(checkable(recorded, native_bill(recorded)), client)


def test_an_async_client_with_a_protocol_of_its_own_passes() -> None:
    ollama = pytest.importorskip("ollama")
    recorded = case("ollama.chat.stream.ollama_streaming_chat_legacy")

    @asynccontextmanager
    async def client(base_url: str) -> AsyncIterator[Callable[..., Any]]:
        opened = ollama.AsyncClient(base_url, timeout=10)
        async with opened._client:
            yield lambda **_: opened.chat(recorded.request_model, messages=[], stream=True)

    assert "left early" in check_provider(checkable(recorded, native_bill(recorded)), client)


BEDROCK = {
    "converse": "bedrock.converse.meta_converse",
    "converse_stream": "bedrock.converse-stream.stream.converse_stream_with_content",
}
COUNTS = {"inputTokens": "input_tokens", "outputTokens": "output_tokens"}


@pytest.mark.parametrize("method", BEDROCK)
def test_boto3_passes(method: str) -> None:
    session = pytest.importorskip("botocore.session").Session()
    recorded = case(BEDROCK[method])

    @contextmanager
    def client(base_url: str) -> Iterator[Callable[..., Any]]:
        from botocore.config import Config

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        config = Config(retries={"max_attempts": 0}, proxies={})
        opened = session.create_client("bedrock-runtime", endpoint_url=base_url, config=config, **keys)

        def converse(**request: Any) -> Any:
            answer = getattr(opened, method)(modelId=recorded.request_model, **request)
            if method == "converse":
                return answer
            closing.callback(answer["stream"].close)
            return iter(answer["stream"])

        with ExitStack() as closing:
            closing.callback(opened.close)
            yield converse

    usage = {ours: (recorded.expected_usage or {})[theirs] for theirs, ours in COUNTS.items()}
    assert "over budget" in check_provider(replace(recorded, usage=usage), client)


# -- a client that is unknown here -----------------------------------------------------------------------------------


class Acme:
    """A client library of somebody else, as small as can be."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def ask(self, **body: Any) -> Any:
        request = HttpRequest(f"{self.base_url}/ask", json.dumps(body).encode(), {"content-type": "application/json"})
        response = urlopen(request, timeout=10)
        return self.events(response) if body.get("stream") else self.whole(response)

    def whole(self, response: Any) -> Any:
        with response:
            return json.load(response)

    def events(self, response: Any) -> Iterator[Any]:
        with response:
            for line in response:
                if line.strip():
                    yield json.loads(line)


def asking(base_url: str) -> Callable[..., Any]:
    return Acme(base_url).ask


acme_usage = usage_table(input_tokens="read", output_tokens="written")


class AcmeAdapter(ClientAdapter):
    name = "acme"
    seams = (Seam("acme", "Client.ask"),)

    def request(self, call: Call) -> Request | None:
        return Request("chat", "acme", model_in(call.kwargs))

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        usage = acme_usage(field(response, "used"))
        return ParsedResponse(model=response.get("model"), parts=() if usage is None else (Part(usage),))


USAGE = {"input_tokens": 12, "output_tokens": 5}
PLAIN = RecordedCase(
    body=b'{"model": "acme-2", "text": "hello", "used": {"read": 12, "written": 5}}',
    request={"model": "acme-2", "text": "hi"},
    usage=USAGE,
    model="acme-2",
)
STREAM = RecordedCase(
    body=b'{"text": "hel"}\n{"text": "lo"}\n{"model": "acme-2", "used": {"read": 12, "written": 5}}\n',
    request={"model": "acme-2", "text": "hi", "stream": True},
    content_type="application/jsonl",
    stream=True,
    usage=USAGE,
    model="acme-2",
)


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("acme")
    module.Client = Acme  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme", module)


@pytest.mark.parametrize("recorded", [PLAIN, STREAM], ids=["plain", "stream"])
def test_a_provider_of_somebody_else_passes(recorded: RecordedCase) -> None:
    made = check_provider(recorded, asking, provider=AcmeAdapter())
    assert {"read whole", "outside of a step", "rejected", "cut off", "over budget"} <= set(made)


def test_it_is_patched_by_instrument_and_taken_out_by_uninstrument() -> None:
    original = Acme.__dict__["ask"]
    otel_harn_steps.instrument(providers=[AcmeAdapter()])
    patched = Acme.__dict__["ask"]
    otel_harn_steps.uninstrument()
    otel_harn_steps.instrument()
    otel_harn_steps.uninstrument()
    assert patched is not original
    assert Acme.__dict__["ask"] is original


def test_a_client_that_is_imported_later_is_patched_while_its_provider_is_wanted(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(AcmeAdapter):
        name = "acme_later"
        seams = (Seam("acme_later", "ask", "call"),)

    def imported() -> Any:
        monkeypatch.delitem(sys.modules, "acme_later", raising=False)
        return import_module("acme_later").ask

    (tmp_path / "acme_later.py").write_text("def ask(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    otel_harn_steps.instrument(providers=[Later()])
    during = imported()
    otel_harn_steps.uninstrument()
    otel_harn_steps.instrument()
    after = imported()
    otel_harn_steps.uninstrument()
    assert (hasattr(during, "__wrapped__"), hasattr(after, "__wrapped__")) == (True, False)


def test_what_is_no_provider_is_refused() -> None:
    with pytest.raises(TypeError, match="providers must be instances of ClientAdapter, not the class <class"):
        otel_harn_steps.instrument(providers=[AcmeAdapter])  # type: ignore[list-item]


def failures_of(provider: ClientAdapter, recorded: RecordedCase) -> str:
    with pytest.raises(AssertionError) as caught:
        check_provider(recorded, asking, provider=provider)
    return str(caught.value)


def test_a_wrong_count_is_told() -> None:
    class Wrong(AcmeAdapter):
        def parse(self, request: Request, response: Any) -> ParsedResponse:
            return ParsedResponse(model="acme-2", parts=(Part(Usage(12, 4)),))

    assert "read whole: output_tokens is 4 in the record, 5 in the case" in failures_of(Wrong(), PLAIN)


def test_a_call_that_is_not_seen_is_told() -> None:
    class Blind(AcmeAdapter):
        def request(self, call: Call) -> Request | None:
            return None

    failures = failures_of(Blind(), PLAIN)
    assert "read whole: llm_calls is 0 in the record, 1 in the case" in failures
    assert "over budget: no StepBudgetExceeded left the step" in failures


def test_a_wrong_model_is_told() -> None:
    class Nameless(AcmeAdapter):
        def parse(self, request: Request, response: Any) -> ParsedResponse:
            return ParsedResponse(model="acme", parts=(Part(Usage(12, 5)),))

    assert "the record names the model 'acme', the answer 'acme-2'" in failures_of(Nameless(), PLAIN)


def test_usage_that_nobody_told_is_told() -> None:
    class Inventive(AcmeAdapter):
        def parse(self, request: Request, response: Any) -> ParsedResponse:
            return ParsedResponse(model="acme-2", parts=(Part(Usage(1, 1)),))

    failures = failures_of(Inventive(), replace(PLAIN, body=b'{"model": "acme-2", "text": "hello"}', usage=None))
    assert "unmetered_calls is 0 in the record, 1 in the case" in failures


def test_a_fault_of_the_provider_file_is_told(own_faults_dropped: None) -> None:
    class Broken(AcmeAdapter):
        def parse(self, request: Request, response: Any) -> ParsedResponse:
            raise LookupError("gone")

    assert "read whole: otel_harn_steps failed while" in failures_of(Broken(), PLAIN)


def test_a_change_that_the_app_sees_is_told() -> None:
    class Meddling(AcmeAdapter):
        def watch(self, request: Request, result: Any, meter: Any) -> Any:
            result["text"] = "bye"

    assert "the app does not see what it sees without us" in failures_of(Meddling(), PLAIN)


def test_a_place_that_is_not_there_is_told() -> None:
    class Moved(AcmeAdapter):
        seams = (Seam("acme", "Client.asks"),)

    assert "acme.Client.asks is missing in the installed version of acme" in failures_of(Moved(), PLAIN)


def test_a_client_that_goes_elsewhere_is_told() -> None:
    with pytest.raises(AssertionError, match="no request to the base URL"):
        check_provider(PLAIN, lambda base_url: lambda **request: None, provider=AcmeAdapter())


def test_it_does_not_run_while_instrument_is_in_force(steps: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="call uninstrument"):
        check_provider(PLAIN, asking, provider=AcmeAdapter())


def test_it_needs_no_test_runner_and_no_client() -> None:
    program = "import otel_harn_steps.testing, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pytest", "pydantic", "openai", "httpx"} & set(loaded)


# -- cases in files ----------------------------------------------------------------------------------------------------


def test_a_case_from_a_file_is_what_was_recorded() -> None:
    recorded = case("bedrock.converse-stream.stream.converse_stream_with_content")
    loaded = load_case(CASES / "traffic" / f"{recorded.id}.json")
    same = ("name", "body", "request", "status", "content_type")
    assert [getattr(loaded, name) for name in same] == [getattr(recorded, name) for name in same]


def test_what_a_file_leaves_out_is_the_default(tmp_path: Any) -> None:
    file = tmp_path / "hello.json"
    file.write_text(json.dumps({"response": {"text": "{}"}, "usage": {"input_tokens": None, "output_tokens": 3}}))
    loaded = load_case(file)
    assert (loaded.name, loaded.status, loaded.stream) == ("hello", 200, False)
    assert loaded.bill == Bill(llm_calls=1, unmetered_calls=1, output_tokens=3)
