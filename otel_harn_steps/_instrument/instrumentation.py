"""The owner of everything that `instrument()` puts in place."""

from __future__ import annotations

from contextlib import suppress
from threading import RLock
from typing import Any

from opentelemetry import trace

from otel_harn_steps._calls.engine import watch_bypass
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._cost.price_book import forget_prices
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.clients import patch_clients
from otel_harn_steps._instrument.options import Options, client_of
from otel_harn_steps._instrument.processor import StepSpanProcessor
from otel_harn_steps._instrument.unseen import patch_http_libraries
from otel_harn_steps._patching.patcher import Patcher
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._settings import use_settings
from otel_harn_steps._steps.agents import use_agents
from otel_harn_steps._steps.program_run import join_run
from otel_harn_steps._steps.registry import watch_limits
from otel_harn_steps._telemetry.metrics import start_at_zero


class Instrumentation:
    """What one call of `instrument()` has put in place. `close()` takes all of it out.

    Attributes:
        options: the arguments, checked.
        tracer_provider: where the span processor was added.
        processor: hands records to the sinks.
        patcher: what is wrapped in clients and frameworks.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tracer_provider: Any = options.tracer_provider or trace.get_tracer_provider()
        self.patcher = Patcher()
        use_settings(options)
        forget_prices()
        join_run()
        use_agents("code", options.agents)
        self.processor = StepSpanProcessor(*options.sinks, sink_queue=options.sink_queue)
        add = getattr(self.tracer_provider, "add_span_processor", None)
        if add is not None:
            with guard("adding the span processor", ours=False):
                add(self.processor)
        adapters = (adapter for adapter in ADAPTERS if client_of(adapter) in (options.clients or ()))
        patch_clients(self.patcher, (*adapters, *options.providers))
        if options.frameworks:
            from otel_harn_steps.frameworks._patching import patch_frameworks  # noqa: PLC0415 -- only where wanted

            patch_frameworks(self.patcher, options.frameworks)
        if options.threads:
            from otel_harn_steps._instrument.threads import patch_threads  # noqa: PLC0415 -- only where wanted

            patch_threads(self.patcher)
        if options.unseen_calls:
            patch_http_libraries(self.patcher)
        self._patched_again = set[type]()
        watch_bypass(self._patch_again)
        watch_limits(start_at_zero)

    def close(self) -> None:
        """Take out the wrappers and the span processor, close the sinks, forget the settings."""
        watch_limits(None)
        watch_bypass(None)
        self.patcher.close()
        with guard("removing the span processor", ours=False):
            _remove(self.processor, self.tracer_provider)
        self.processor.shutdown()
        use_agents("code")
        use_settings(None)
        forget_prices()

    def _patch_again(self, kind: type) -> None:
        """Calls of a client class pass our wrapper by: others have put back what they found before we came."""
        if kind not in self._patched_again:
            self._patched_again.add(kind)
            self.patcher.wrap_again(kind)


def _remove(processor: StepSpanProcessor, provider: Any) -> None:
    # The SDK has no public way to remove a processor. Where this one has changed, ours stays there and does nothing.
    with suppress(AttributeError):
        processors = provider._active_span_processor
        with processors._lock:
            processors._span_processors = tuple(each for each in processors._span_processors if each is not processor)


_current: Instrumentation | None = None
_lock = RLock()


def current_instrumentation() -> Instrumentation | None:
    """The instrumentation in force. None: `instrument()` has not been called, or `uninstrument()` has."""
    return _current


def replace_instrumentation(options: Options | None) -> None:
    """Close the instrumentation in force and put a new one in its place, or none."""
    global _current  # noqa: PLW0603 -- the one place that holds it
    with _lock:
        if _current is not None:
            _current.close()
        _current = None
        if options is not None:
            _current = Instrumentation(options)


@in_forked_child
def _forked() -> None:
    global _lock  # noqa: PLW0603 -- another thread may have held it
    _lock = RLock()
