"""Frameworks and platforms that make spans of calls, each with what it is asked to do. Imported in their environment only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, ClassVar, Protocol

from opentelemetry.sdk.trace import TracerProvider

from tests.integration.coexistence.client_scenes import ANTHROPIC, MODEL, OPENAI, QUESTION, Scene, chat


class Peer(Protocol):
    """Somebody's instrumentation, and what the app does with what is instrumented."""

    scenes: Mapping[str, Scene]

    def instrument(self) -> None: ...
    def uninstrument(self) -> None: ...
    async def settle(self) -> None: ...


class _Peer:
    scenes: ClassVar[Mapping[str, Scene]] = {}

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider

    def instrument(self) -> None: ...
    def uninstrument(self) -> None: ...

    async def settle(self) -> None:
        """Wait, within the step, for what it does after a call."""


# -- Pydantic AI -------------------------------------------------------------------------------------------------------


async def _pydantic_ai(url: str, *, streamed: bool = False) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="test")))

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sunny in {city}"

    if not streamed:
        await agent.run("How is Rome?")
        return
    async with agent.run_stream("How is Rome?") as result:
        async for _ in result.stream_text():
            pass


async def _pydantic_ai_stream(url: str) -> None:
    await _pydantic_ai(url, streamed=True)


class _PydanticAI(_Peer):
    scenes: ClassVar[Mapping[str, Scene]] = {"agent": _pydantic_ai, "agent stream": _pydantic_ai_stream}

    def instrument(self) -> None:
        from pydantic_ai import Agent
        from pydantic_ai.models.instrumented import InstrumentationSettings

        Agent.instrument_all(InstrumentationSettings(tracer_provider=self.provider))

    def uninstrument(self) -> None:
        from pydantic_ai import Agent

        Agent.instrument_all(False)


class _LogfirePydanticAI(_PydanticAI):
    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        import logfire
        from opentelemetry import trace
        from opentelemetry.trace import ProxyTracerProvider

        # Its provider wraps the one that the app has, whose processors it is given.
        processors = [provider._active_span_processor]
        trace._TRACER_PROVIDER = None
        trace._TRACER_PROVIDER_SET_ONCE._done = False
        assert isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=processors, metrics=False)

    def instrument(self) -> None:
        import logfire

        logfire.instrument_pydantic_ai()


# -- platforms ---------------------------------------------------------------------------------------------------------


class _Langfuse(_Peer):
    """Its wrapper is in place once `langfuse.openai` is imported, and never leaves."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        from langfuse import Langfuse

        Langfuse(public_key="pk", secret_key="sk", tracer_provider=provider, span_exporter=_nowhere())

    scenes: ClassVar[Mapping[str, Scene]] = OPENAI

    def instrument(self) -> None:
        import langfuse.openai  # noqa: F401 -- patches when it is imported


class _LangfuseObserve(_Langfuse):
    """Its decorator around functions that call."""

    scenes: ClassVar[Mapping[str, Scene]] = {}

    def instrument(self) -> None: ...

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        from langfuse import get_client, observe

        async def generation(url: str) -> None:
            await chat(url)
            get_client().update_current_generation(usage_details={"input": 101, "output": 31})

        self.scenes = {
            "observed": observe()(chat),
            "observed as a generation": observe(as_type="generation")(generation),
        }


def _nowhere() -> Any:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


class _OpenLIT(_Peer):
    """Has no way to leave."""

    scenes: ClassVar[Mapping[str, Scene]] = {**OPENAI, **ANTHROPIC}

    def instrument(self) -> None:
        import openlit
        from openlit._instrumentors import MODULE_NAME_MAP

        others = [name for name in MODULE_NAME_MAP if name not in {"openai", "anthropic"}]  # each looks for its module
        openlit.init(disable_metrics=True, disable_events=True, disabled_instrumentors=others)


class _Weave(_Peer):
    """Its wrappers around the clients. It makes no OpenTelemetry spans: what it records goes to its own server."""

    scenes: ClassVar[Mapping[str, Scene]] = {**OPENAI, **ANTHROPIC}

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        from weave.integrations.anthropic.anthropic_sdk import get_anthropic_patcher
        from weave.integrations.openai.openai_sdk import get_openai_patcher

        self._patchers = get_openai_patcher(), get_anthropic_patcher()

    def instrument(self) -> None:
        for each in self._patchers:
            each.attempt_patch()

    def uninstrument(self) -> None:
        for each in self._patchers:
            each.undo_patch()


# -- litellm -----------------------------------------------------------------------------------------------------------


async def _litellm(url: str) -> None:
    import litellm

    litellm.completion(f"openai/{MODEL}", QUESTION, api_base=url, api_key="test")


async def _litellm_async(url: str) -> None:
    import litellm

    await litellm.acompletion(f"openai/{MODEL}", QUESTION, api_base=url, api_key="test")


async def _litellm_stream(url: str) -> None:
    import litellm

    asked = {"include_usage": True}
    for _ in litellm.completion(
        f"openai/{MODEL}", QUESTION, api_base=url, api_key="test", stream=True, stream_options=asked
    ):
        pass


async def _litellm_async_stream(url: str) -> None:
    import litellm

    asked = {"include_usage": True}
    events = await litellm.acompletion(
        f"openai/{MODEL}", QUESTION, api_base=url, api_key="test", stream=True, stream_options=asked
    )
    async for _ in events:
        pass


class _LiteLLM(_Peer):
    """Its callback runs after the call, some of it in a thread."""

    scenes: ClassVar[Mapping[str, Scene]] = {
        "completion": _litellm,
        "acompletion": _litellm_async,
        "completion stream": _litellm_stream,
        "acompletion stream": _litellm_async_stream,
    }

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

        self._is_on = False
        has_told = self._has_told = Event()

        class Tracing(OpenTelemetry):
            def _handle_success(self, *args: Any, **kwargs: Any) -> None:
                super()._handle_success(*args, **kwargs)
                has_told.set()

        config = OpenTelemetryConfig(exporter=_nowhere())
        self._callback = Tracing(config=config, tracer_provider=provider, message_logging=False)

    def instrument(self) -> None:
        import litellm

        litellm.callbacks = [self._callback]
        self._is_on = True

    def uninstrument(self) -> None:
        import litellm

        litellm.callbacks = []
        for name in ("success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback"):
            setattr(litellm, name, [])
        self._is_on = False

    async def settle(self) -> None:
        if self._is_on:
            assert await asyncio.to_thread(self._has_told.wait, 60)
            self._has_told.clear()


# -- OpenLLMetry -------------------------------------------------------------------------------------------------------


async def _langchain(url: str) -> None:
    from langchain_openai import ChatOpenAI

    ChatOpenAI(model=MODEL, base_url=url, api_key="test").invoke("How is Rome?")


async def _langchain_async(url: str) -> None:
    from langchain_openai import ChatOpenAI

    await ChatOpenAI(model=MODEL, base_url=url, api_key="test").ainvoke("How is Rome?")


async def _langchain_stream(url: str) -> None:
    from langchain_openai import ChatOpenAI

    for _ in ChatOpenAI(model=MODEL, base_url=url, api_key="test", stream_usage=True).stream("How is Rome?"):
        pass


async def _agents(url: str) -> None:
    from agents import Agent, OpenAIProvider, RunConfig, Runner, function_tool

    @function_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    agent = Agent(name="Forecaster", instructions="You are a forecaster.", tools=[weather], model=MODEL)
    config = RunConfig(model_provider=OpenAIProvider(api_key="test", base_url=url))
    await Runner.run(agent, "How is Rome?", run_config=config)


class _OpenLLMetryLangChain(_Peer):
    scenes: ClassVar[Mapping[str, Scene]] = {
        "invoke": _langchain,
        "ainvoke": _langchain_async,
        "stream": _langchain_stream,
    }

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider)
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        self._instrumentor = LangchainInstrumentor()

    def instrument(self) -> None:
        self._instrumentor.instrument(tracer_provider=self.provider)

    def uninstrument(self) -> None:
        self._instrumentor.uninstrument()


class _OpenLLMetryAgents(_OpenLLMetryLangChain):
    scenes: ClassVar[Mapping[str, Scene]] = {"agent": _agents}

    def __init__(self, provider: TracerProvider) -> None:
        _Peer.__init__(self, provider)
        from agents import set_trace_processors
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        set_trace_processors([])  # the SDK's own sends to its maker
        self._instrumentor = OpenAIAgentsInstrumentor()


PEERS: dict[str, Callable[[TracerProvider], Peer]] = {
    "langfuse-observe": _LangfuseObserve,
    "langfuse-openai": _Langfuse,
    "litellm-otel": _LiteLLM,
    "logfire-pydantic-ai": _LogfirePydanticAI,
    "openllmetry-langchain": _OpenLLMetryLangChain,
    "openllmetry-openai-agents": _OpenLLMetryAgents,
    "openlit": _OpenLIT,
    "pydantic-ai": _PydanticAI,
    "weave": _Weave,
}
