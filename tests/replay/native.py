"""The clients that speak a protocol of their own: how each makes a recorded call, and what that call must cost.

They get the replay server's address as their base URL, since not all of them take a proxy.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import Mode, uncollected
from otel_harn_steps.testing._seen import Seen
from otel_harn_steps.testing._uses import LEAVING, Use, ignores, pulls, reads
from tests.replay.answers import Answer, Script, recorded
from tests.replay.bills import NO_CALL, UNMETERED_CALL, Bill
from tests.replay.cases import Case, cases

Instrumented = Callable[..., Any]
HELLO = [{"role": "user", "content": "hello"}]
_TIMEOUT_S = 10.0


__all__ = [
    "HELLO",
    "LEAVING",
    "PACKAGES",
    "App",
    "Native",
    "Outcome",
    "ignores",
    "native_bill",
    "native_cases",
    "pulls",
    "reads",
]

PACKAGES = {
    "google_genai": "google.genai",
    "google_vertex": "google.genai",
    "mistral": "mistralai",
    "cohere": "cohere",
    "ollama": "ollama",
    "huggingface": "huggingface_hub",
}
"""What an app imports to call each provider."""


def native_cases(*providers: str, stream: bool | None = None) -> list[Case]:
    """The recorded cases of these providers; of all whose client is installed, if none is named."""
    return cases(
        providers=providers or [name for name, package in PACKAGES.items() if _is_installed(package)], stream=stream
    )


def json_answer(body: object, status: int = 200) -> Answer:
    """An answer that was not recorded."""
    return Answer(status, (json.dumps(body).encode(),), headers={"content-type": "application/json"})


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


# -- clients ---------------------------------------------------------------------------------------------------------


@contextmanager
def google(mode: Mode, base_url: str, *, vertex: bool = False) -> Iterator[Any]:
    from google import genai
    from google.oauth2.credentials import Credentials

    options = {"base_url": base_url, "timeout": int(_TIMEOUT_S * 1000)}
    whose = (
        {"vertexai": True, "project": "p", "location": "us-central1", "credentials": Credentials("token")}
        if vertex
        else {"api_key": "test"}
    )
    client = genai.Client(http_options=options, **whose)
    try:
        yield client if mode.name == "sync" else client.aio
    finally:
        mode.run(_closed(mode, client.aio.aclose if mode.name == "async" else client.close))


@contextmanager
def mistral(mode: Mode, base_url: str) -> Iterator[Any]:
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral

    client = Mistral(api_key="test", server_url=base_url, timeout_ms=int(_TIMEOUT_S * 1000))
    try:
        yield client
    finally:
        if mode.name == "async":
            mode.run(client.__aexit__(None, None, None))
        client.__exit__(None, None, None)


@contextmanager
def cohere(mode: Mode, base_url: str, *, version: int = 2) -> Iterator[Any]:
    import cohere

    names = {"sync1": "Client", "async1": "AsyncClient", "sync2": "ClientV2", "async2": "AsyncClientV2"}
    client = getattr(cohere, names[f"{mode.name}{version}"])("test", base_url=base_url, timeout=_TIMEOUT_S)
    try:
        yield client
    finally:
        http = client._client_wrapper.httpx_client.httpx_client
        mode.run(_closed(mode, http.aclose if mode.name == "async" else http.close))


@contextmanager
def ollama(mode: Mode, base_url: str) -> Iterator[Any]:
    import ollama

    client = (ollama.Client if mode.name == "sync" else ollama.AsyncClient)(base_url, timeout=_TIMEOUT_S)
    try:
        yield client
    finally:
        http = client._client
        mode.run(_closed(mode, http.aclose if mode.name == "async" else http.close))


@contextmanager
def huggingface(mode: Mode, base_url: str, **given: Any) -> Iterator[Any]:
    import huggingface_hub

    kind = huggingface_hub.InferenceClient if mode.name == "sync" else huggingface_hub.AsyncInferenceClient
    client = kind(base_url=f"{base_url}/v1", token="test", timeout=_TIMEOUT_S, **given)
    try:
        yield client
    finally:
        if mode.name == "async":
            mode.run(_closed(mode, client.close))


async def _closed(mode: Mode, close: Callable[[], Any]) -> None:
    await mode.settle(close())


# -- recorded calls --------------------------------------------------------------------------------------------------


@contextmanager
def client_for(case: Case, mode: Mode, base_url: str) -> Iterator[Any]:
    if case.provider.startswith("google"):
        entered = google(mode, base_url, vertex=case.provider == "google_vertex")
    elif case.provider == "cohere":
        entered = cohere(mode, base_url, version=int(case.endpoint[1]))
    else:
        entered = {"mistral": mistral, "ollama": ollama, "huggingface": huggingface}[case.provider](mode, base_url)
    with entered as client:
        yield client


def call(client: Any, case: Case, mode: Mode, **more: Any) -> Any:
    """Make the call as an app would: a value, an awaitable, or a stream."""
    return _CALLS[case.provider](client, case, mode, {"model": case.request_model, **more})


def _google(client: Any, case: Case, mode: Mode, given: dict[str, Any]) -> Any:
    if case.endpoint == "interactions":
        return client.interactions.create(**case.request)
    method = {
        "generateContent": client.models.generate_content,
        "streamGenerateContent": client.models.generate_content_stream,
        "batchEmbedContents": client.models.embed_content,
    }[case.endpoint]
    return method(contents="hello", **given)


def _mistral(client: Any, case: Case, mode: Mode, given: dict[str, Any]) -> Any:
    suffix = "_async" if mode.name == "async" else ""
    if case.endpoint == "embeddings":
        return getattr(client.embeddings, f"create{suffix}")(inputs=["hello"], **given)
    return getattr(client.chat, f"{'stream' if case.stream else 'complete'}{suffix}")(messages=HELLO, **given)


def _cohere(client: Any, case: Case, mode: Mode, given: dict[str, Any]) -> Any:
    if case.endpoint == "v2/embed":
        return client.embed(input_type="search_document", texts=["hello"], embedding_types=["float"], **given)
    if case.endpoint == "v2/rerank":
        return client.rerank(query="hello", documents=["a", "b"], **given)
    says = {"messages": HELLO} if case.endpoint == "v2/chat" else {"message": "hello"}
    return (client.chat_stream if case.stream else client.chat)(**says, **given)


def _ollama(client: Any, case: Case, mode: Mode, given: dict[str, Any]) -> Any:
    if case.endpoint == "generate":
        return client.generate(prompt="hello", stream=case.stream, **given)
    return client.chat(messages=HELLO, stream=case.stream, **given)


def _huggingface(client: Any, case: Case, mode: Mode, given: dict[str, Any]) -> Any:
    return client.chat_completion(HELLO, stream=case.stream, **given)


_CALLS: Mapping[str, Callable[[Any, Case, Mode, dict[str, Any]], Any]] = {
    "google_genai": _google,
    "google_vertex": _google,
    "mistral": _mistral,
    "cohere": _cohere,
    "ollama": _ollama,
    "huggingface": _huggingface,
}


# -- the same call, bare and inside a step ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the same call, bare and inside a step. `left` is what left the step."""

    case: Case
    bare: Seen
    ours: Seen
    record: Any
    left: Exception | None
    requests: int

    @property
    def bill(self) -> Bill:
        return Bill.of_record(self.record)


@dataclass(frozen=True, slots=True)
class Native:
    """Makes the call of a case twice: bare, and inside a step."""

    mode: Mode
    server: ReplayServer
    instrumented: Instrumented

    def __call__(
        self,
        case: Case,
        way: Use = reads,
        *script: Answer | Script,
        budget: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Outcome:
        bare, _ = self._run(case, way, script)
        with self.instrumented(**settings) as steps:
            left: Exception | None = None
            ours = Seen("")

            async def in_a_step(client: Any, seen: Seen) -> None:
                nonlocal left, ours
                ours = seen
                try:
                    with steps.step("s", **(budget or {})):
                        await self._go(client, case, way, seen)
                except steps.StepBudgetExceeded as error:
                    left = error

            _, requests = self._run(case, way, script, in_a_step)
            (record,) = steps.drain_completed_steps()
        return Outcome(case, bare, ours, record, left, requests)

    def _run(self, case: Case, way: Use, script: tuple[Answer | Script, ...], go: Any = None) -> tuple[Seen, int]:
        exchange = self.server.serve(*(script or (recorded(case),)))
        base_url = f"{self.server.address}/{exchange.token}"
        seen = Seen(base_url)
        with client_for(case, self.mode, base_url) as client:
            self.mode.run(self._go(client, case, way, seen) if go is None else go(client, seen))
        return seen, len(exchange.requests)

    async def _go(self, client: Any, case: Case, way: Use, seen: Seen) -> None:
        try:
            with uncollected():
                await way(await self.mode.settle(call(client, case, self.mode)), self.mode, seen)
        except Exception as error:  # noqa: BLE001 -- all of it is compared
            seen.raised(error)


@dataclass(frozen=True, slots=True)
class App:
    """An app with one client: `open_client(mode, base_url)`."""

    open_client: Callable[..., AbstractContextManager[Any]]
    mode: Mode
    server: ReplayServer

    def run(
        self,
        steps: ModuleType,
        script: tuple[Answer | Script, ...],
        go: Callable[[Any], Awaitable[None]],
        step: Mapping[str, Any] | None = None,
        **client: Any,
    ) -> tuple[Any, int]:
        """The record of a step in which `go(client)` ran, and how many requests it sent."""
        exchange = self.server.serve(*script)
        with self.open_client(self.mode, f"{self.server.address}/{exchange.token}", **client) as opened:

            async def in_a_step() -> None:
                with steps.step("s", **(step or {})):
                    await go(opened)

            self.mode.run(in_a_step())
        *_, record = steps.drain_completed_steps()
        return record, len(exchange.requests)


# -- bills -----------------------------------------------------------------------------------------------------------


def native_bill(case: Case) -> Bill:
    """The bill of one call that got this case's answer and read all of it, by this file's own reading of the recorded usage."""
    if case.status >= 400:
        return NO_CALL
    usage = case.expected_usage
    if usage is None:
        return UNMETERED_CALL
    return _BILLS[case.provider](usage)


def _google_bill(usage: Mapping[str, Any]) -> Bill:
    if "total_input_tokens" in usage:
        return Bill(
            llm_calls=1,
            input_tokens=usage["total_input_tokens"] + usage["total_tool_use_tokens"],
            output_tokens=usage["total_output_tokens"] + usage["total_thought_tokens"],
            cache_read_tokens=usage["total_cached_tokens"],
            reasoning_tokens=usage["total_thought_tokens"],
        )
    thoughts = usage.get("thoughtsTokenCount", 0)
    return Bill(
        llm_calls=1,
        input_tokens=usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        output_tokens=usage.get("candidatesTokenCount", 0) + thoughts,
        cache_read_tokens=usage.get("cachedContentTokenCount", 0),
        reasoning_tokens=thoughts,
    )


def _mistral_bill(usage: Mapping[str, Any]) -> Bill:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Bill(
        llm_calls=1,
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cache_read_tokens=cached,
    )


def _cohere_bill(usage: Mapping[str, Any]) -> Bill:
    billed, processed = usage["billed_units"], usage.get("tokens") or {}
    read, written = int(billed.get("input_tokens", 0)), int(billed.get("output_tokens", 0))
    not_cached = int(processed.get("input_tokens", 0)) - int(usage.get("cached_tokens", 0))
    cached = max(read - not_cached, 0) if "cached_tokens" in usage else 0
    return Bill(llm_calls=1, input_tokens=read, output_tokens=written, cache_read_tokens=cached)


def _ollama_bill(usage: Mapping[str, Any]) -> Bill:
    complete = {"prompt_eval_count", "eval_count"} <= usage.keys()
    return Bill(
        llm_calls=1,
        unmetered_calls=0 if complete else 1,
        input_tokens=usage.get("prompt_eval_count", 0),
        output_tokens=usage.get("eval_count", 0),
    )


_BILLS: Mapping[str, Callable[[Mapping[str, Any]], Bill]] = {
    "google_genai": _google_bill,
    "google_vertex": _google_bill,
    "mistral": _mistral_bill,
    "cohere": _cohere_bill,
    "ollama": _ollama_bill,
    "huggingface": _mistral_bill,
}
