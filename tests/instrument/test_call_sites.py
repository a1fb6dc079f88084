"""Warnings, log records, tracebacks and coroutines of a client's call name what they name without the package."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import multiprocessing
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import otel_harn_steps
from otel_harn_steps.providers import Seam
from tests.http_library import http_library
from tests.instrument.acme import Acme

ROOT = Path(otel_harn_steps.__file__).parent
LOG = logging.getLogger("tests.call_sites")


# -- a client that says something at each of its seams, by stack level ----------------------------------------------------


def say(level: int) -> None:
    """Warn and log about the code `level` frames above whoever calls this."""
    warnings.warn("old", DeprecationWarning, stacklevel=level + 1)
    LOG.warning("old", stacklevel=level + 1)


class Client:
    def plain(self, level: int) -> str:
        say(level)
        return "done"

    async def plain_async(self, level: int) -> str:
        say(level)
        return "done"

    def filled(self, level: int, model: str = "m") -> str:
        say(level)
        return model

    async def filled_async(self, level: int, model: str = "m") -> str:
        say(level)
        return model

    def deferred(self, level: int) -> Iterator[str]:
        say(level)
        yield "done"
        say(level)

    async def deferred_async(self, level: int) -> AsyncIterator[str]:
        say(level)
        yield "done"
        say(level)

    @contextlib.contextmanager
    def managed(self, level: int) -> Iterator[str]:
        say(level)
        yield "done"

    def streamed(self, level: int, *, stream: bool) -> Any:
        say(level)
        return (each for each in ["done"]) if stream else "done"

    def sent(self, level: int) -> str:
        return self.plain(level)

    def broken(self, level: int) -> None:
        say(level)
        error = LookupError("no such page")
        error.add_note("a note")
        raise error from ValueError("a cause")


class Adapter(Acme):
    name = "call_sites"
    seams = (
        Seam(__name__, "Client.plain"),
        Seam(__name__, "Client.plain_async", is_async=True),
        Seam(__name__, "Client.filled", "fill"),
        Seam(__name__, "Client.filled_async", "fill"),
        Seam(__name__, "Client.deferred", deferred=True),
        Seam(__name__, "Client.deferred_async", deferred=True),
        Seam(__name__, "Client.managed", deferred=True),
        Seam(__name__, "Client.streamed", deferred="stream"),
        Seam(__name__, "Client.sent", "send"),
        Seam(__name__, "Client.broken"),
    )


def call_plain(level: int) -> None:
    Client().plain(level)


def call_plain_async(level: int) -> None:
    async def call() -> None:
        await Client().plain_async(level)

    asyncio.run(call())


def call_filled(level: int) -> None:
    Client().filled(level=level)


def call_filled_async(level: int) -> None:
    async def call() -> None:
        await asyncio.create_task(Client().filled_async(level=level))

    asyncio.run(call())


def call_deferred(level: int) -> None:
    for _ in Client().deferred(level):
        pass


def call_deferred_async(level: int) -> None:
    async def call() -> None:
        async for _ in Client().deferred_async(level):
            pass

    asyncio.run(call())


def call_managed(level: int) -> None:
    with Client().managed(level):
        pass


def call_streamed(level: int) -> None:
    list(Client().streamed(level, stream=True))


def call_streamed_at_once(level: int) -> None:
    Client().streamed(level, stream=False)


def call_sent(level: int) -> None:
    Client().sent(level)


def call_broken(level: int) -> None:
    with contextlib.suppress(LookupError):
        Client().broken(level)


CALLS = (
    *(call_plain, call_plain_async, call_filled, call_filled_async, call_deferred, call_deferred_async),
    *(call_managed, call_streamed, call_streamed_at_once, call_sent, call_broken),
)


class Places(logging.Handler):
    """The places that log records name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.pathname, record.lineno, record.funcName))


def places_of(call: Callable[[], object]) -> list[Any]:
    """The file and line that each warning and each log record of a call names."""
    logged = Places()
    LOG.addHandler(logged)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            call()
    finally:
        LOG.removeHandler(logged)
    return [*((each.filename, each.lineno) for each in warned if "old" in str(each.message)), *logged.seen]


def in_every_state(look: Callable[[], Any], **options: Any) -> tuple[Any, Any, Any]:
    """What `look` returns without the package, with it, and in a step."""
    without_us = look()
    otel_harn_steps.instrument(**options)
    try:
        instrumented = look()
        with otel_harn_steps.step("s", model="m"):
            in_a_step = look()
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    return without_us, instrumented, in_a_step


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("call", CALLS)
def test_warnings_and_log_records_name_the_place_that_they_name_without_us(
    call: Callable[[int], None], level: int
) -> None:
    without_us, *with_us = in_every_state(lambda: places_of(lambda: call(level)), providers=[Adapter()])
    assert without_us
    assert with_us == [without_us, without_us]


# -- the real clients ----------------------------------------------------------------------------------------------------


def warning_calls() -> Iterator[Any]:
    """Calls of real clients that warn by stack level. No request is answered."""
    try:
        import anthropic
        from anthropic.resources.messages.messages import DEPRECATED_MODELS
    except ImportError:
        return

    http = http_library(anthropic)

    def refuse(_: Any) -> Any:
        raise http.ConnectError("refused")

    old: dict[str, Any] = {
        "model": next(iter(DEPRECATED_MODELS)),
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "x"}],
    }
    transport = http.MockTransport(refuse)
    client = anthropic.Anthropic(api_key="k", max_retries=0, http_client=http.Client(transport=transport))
    client_async = anthropic.AsyncAnthropic(
        api_key="k", max_retries=0, http_client=http.AsyncClient(transport=transport)
    )
    refused = anthropic.APIConnectionError

    def calling(method: Callable[..., Any], **more: Any) -> Callable[[], None]:
        def call() -> None:
            with contextlib.suppress(refused):
                made = method(**old, **more)
                if hasattr(made, "__enter__"):
                    with made:
                        pass

        return call

    def calling_async(resource: Any) -> Callable[[], None]:
        async def create() -> None:
            with contextlib.suppress(refused):
                await resource.create(**old)

        return lambda: asyncio.run(create())

    for name, messages in (("messages", client.messages), ("beta messages", client.beta.messages)):
        yield pytest.param(calling(messages.create), id=f"anthropic {name} create")
        yield pytest.param(calling(messages.create, stream=True), id=f"anthropic {name} create a stream")
        yield pytest.param(calling(messages.stream), id=f"anthropic {name} stream")
        yield pytest.param(calling(messages.parse), id=f"anthropic {name} parse")
        yield pytest.param(calling(messages.with_raw_response.create), id=f"anthropic {name} raw")
    yield pytest.param(calling_async(client_async.messages), id="anthropic async create")
    yield pytest.param(calling_async(client_async.beta.messages), id="anthropic async beta create")


def all_warnings(call: Callable[[], None]) -> list[Any]:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        call()
    return [(each.category, each.filename, each.lineno) for each in warned]


@pytest.mark.parametrize("call", list(warning_calls()))
def test_a_real_clients_warnings_name_the_line_that_they_name_without_us(call: Callable[[], None]) -> None:
    without_us, *with_us = in_every_state(lambda: all_warnings(call))
    assert DeprecationWarning in {category for category, *_ in without_us}
    assert with_us == [without_us, without_us]


APP = """
import contextlib, sys
import anthropic
import otel_harn_steps
from anthropic.resources.messages.messages import DEPRECATED_MODELS

client = anthropic.Anthropic(api_key="k", max_retries=0, base_url="http://127.0.0.1:1", timeout=5)
if sys.argv[1] != "off":
    otel_harn_steps.instrument()
with otel_harn_steps.step("s") if sys.argv[1] == "step" else contextlib.nullcontext():
    with contextlib.suppress(anthropic.APIConnectionError):
        client.messages.create(model=next(iter(DEPRECATED_MODELS)), max_tokens=1, messages=[])
"""


def test_a_deprecation_is_shown_to_the_programs_main_module_under_default_filters(tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    app = tmp_path / "app.py"
    app.write_text(APP)

    environment = {"PYTHONPATH": str(ROOT.parent)}
    programs = [
        subprocess.Popen([sys.executable, str(app), state], env=environment, stderr=subprocess.PIPE, text=True)
        for state in ("off", "instrumented", "step")
    ]
    without_us, *with_us = [program.communicate(timeout=60)[1] for program in programs]
    assert "app.py:12: DeprecationWarning" in without_us
    assert with_us == [without_us, without_us]


# -- exceptions and coroutines -------------------------------------------------------------------------------------------


def test_an_exception_is_the_clients_own_with_its_cause_its_notes_and_the_frames_below_ours() -> None:
    def look() -> Any:
        try:
            Client().broken(1)
        except LookupError as error:
            frames = traceback.extract_tb(error.__traceback__)
            theirs = [
                (each.name, each.lineno) for each in frames if not Path(each.filename).resolve().is_relative_to(ROOT)
            ]
            return repr(error), error.__notes__, repr(error.__cause__), error.__context__ is error.__cause__, theirs
        return None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        without_us, *with_us = in_every_state(look, providers=[Adapter()])
    assert without_us[-1][-1][0] == "broken"
    assert with_us == [without_us, without_us]


def test_a_traceback_shows_the_lines_of_our_frames() -> None:
    otel_harn_steps.instrument(providers=[Adapter()])
    try:
        with otel_harn_steps.step("s"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Client().broken(1)
    except LookupError as error:
        lines = [each.line for each in traceback.extract_tb(error.__traceback__)]
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    assert "result = wrapped(*args, **kwargs)" in lines


@pytest.mark.parametrize("method", ["plain_async", "filled_async"])
def test_a_coroutine_has_the_name_of_the_clients_own(method: str) -> None:
    def look() -> Any:
        made = getattr(Client(), method)(level=1)
        made.close()
        return type(made), made.__name__, made.__qualname__

    without_us, *with_us = in_every_state(look, providers=[Adapter()])
    assert with_us == [without_us, without_us]


@pytest.mark.parametrize("method", ["deferred", "deferred_async"])
def test_a_generator_has_the_name_of_the_clients_own(method: str) -> None:
    def look() -> Any:
        made = getattr(Client(), method)(level=1)
        return type(made), made.__name__, made.__qualname__

    without_us, *with_us = in_every_state(look, providers=[Adapter()])
    assert with_us == [without_us, without_us]


@pytest.mark.parametrize("wrong", [(), (1, 2, 3, 4)], ids=["too few", "too many"])
@pytest.mark.parametrize("method", [name for name in vars(Client) if not name.startswith("_")])
def test_wrong_arguments_are_refused_where_and_as_the_client_refuses_them(method: str, wrong: tuple[int, ...]) -> None:
    def look() -> Any:
        with pytest.raises(TypeError) as caught:
            getattr(Client(), method)(*wrong)
        return str(caught.value)

    without_us, *with_us = in_every_state(look, providers=[Adapter()])
    assert with_us == [without_us, without_us]


# -- other processes -----------------------------------------------------------------------------------------------------

CHILD = """
import pickle, sys
for function in pickle.load(sys.stdin.buffer):
    print(function.__module__, function.__qualname__, type(function).__name__, hasattr(function, "__func__"))
print([name for name in sys.modules if name.startswith("otel_harn_steps")])
"""


def test_what_an_instrumented_process_pickles_another_one_reads_without_us(steps: ModuleType) -> None:
    hub = pytest.importorskip("huggingface_hub")
    openai = pytest.importorskip("openai")
    client = hub.InferenceClient(token="t")
    functions = [client.chat_completion, hub.InferenceClient.chat_completion, openai.OpenAI.request]
    assert all(hasattr(each, "__wrapped__") for each in functions)
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, check=True, input=pickle.dumps(functions), capture_output=True, timeout=60)
    assert done.stdout.decode().splitlines() == [
        "huggingface_hub.inference._client InferenceClient.chat_completion method True",
        "huggingface_hub.inference._client InferenceClient.chat_completion function False",
        "openai._base_client SyncAPIClient.request function False",
        "[]",
    ]


def test_a_pool_of_processes_takes_a_clients_method(steps: ModuleType) -> None:
    hub = pytest.importorskip("huggingface_hub")
    client = hub.InferenceClient(token="t")
    spawning = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawning) as pool:
        assert pool.submit(inspect.ismethod, client.chat_completion).result(timeout=60)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'messages'"):
            pool.submit(client.chat_completion).result(timeout=60)
