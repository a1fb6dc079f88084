"""The owner of everything that `instrument()` puts in place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps._clients import LIBRARIES
from otel_harn_steps._guard import guard
from otel_harn_steps._instrument.common_budgets import use_common_budgets
from otel_harn_steps._instrument.options import Options
from otel_harn_steps._instrument.receiver import SinkReceiver
from otel_harn_steps._instrument.workers import export_from_workers
from otel_harn_steps._patching.patcher import Patcher
from otel_harn_steps._process import in_forked_child
from otel_harn_steps._settings import use_settings
from otel_harn_steps._telemetry.exporting import tracer_provider

if TYPE_CHECKING:
    from otel_harn_steps._calls.client import ClientAdapter

# Modules of ours that a program imports with its first client or its first step, and not with `instrument()`.
_ENGINE: Final = "otel_harn_steps._calls.engine"
_LABELS: Final = "otel_harn_steps._steps.labels"
_PRICE_BOOK: Final = "otel_harn_steps._cost.price_book"
_PROGRAM_RUN: Final = "otel_harn_steps._steps.program_run"
_REGISTRY: Final = "otel_harn_steps._steps.registry"


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
        self.tracer_provider: Any = options.tracer_provider or tracer_provider()
        self.patcher = Patcher()
        use_settings(options)
        _forget_prices()
        self.patcher.when_imported(_PROGRAM_RUN, lambda module: module.join_run())
        use_common_budgets("code", options.agents, options.budgets)
        _allow_baggage(options.baggage_labels)
        self.processor = self._add_processor()
        self._patched = set[str]()
        for name in options.clients or ():
            for package in LIBRARIES[name].packages:
                self.patcher.when_imported(package, partial(self._patch_library, name))
        if options.providers:
            self._patch_clients(options.providers)
        if options.frameworks:
            from otel_harn_steps.frameworks._patching import patch_frameworks  # noqa: PLC0415 -- only where wanted

            patch_frameworks(self.patcher, options.frameworks)
        if options.threads:
            from otel_harn_steps._instrument.threads import patch_threads  # noqa: PLC0415 -- only where wanted

            patch_threads(self.patcher)
        if options.unseen_calls:
            from otel_harn_steps._instrument.http_libraries import patch_http_libraries  # noqa: PLC0415 -- as above

            patch_http_libraries(self.patcher)
        self._patched_again = set[type]()
        self.patcher.when_imported(_ENGINE, lambda module: module.watch_bypass(self._patch_again))
        self.patcher.when_imported(_REGISTRY, lambda module: module.watch_limits(_start_at_zero))
        export_from_workers(is_on=True)

    def close(self) -> None:
        """Take out the wrappers and the span processor, close the sinks, forget the settings."""
        export_from_workers(is_on=False)
        for name, watch in ((_REGISTRY, "watch_limits"), (_ENGINE, "watch_bypass")):
            if name in sys.modules:
                getattr(sys.modules[name], watch)(None)
        self.patcher.close()
        with guard("removing the span processor", ours=False):
            _remove(self.processor, self.tracer_provider)
        self.processor.shutdown()
        use_common_budgets("code")
        _allow_baggage(())
        use_settings(None)
        _forget_prices()

    def _add_processor(self) -> SinkReceiver:
        """What hands records to the sinks; in the SDK's tracer provider, if there is one, it also sees spans."""
        options = self.options
        add = getattr(self.tracer_provider, "add_span_processor", None)
        if add is None:
            return SinkReceiver(*options.sinks, sink_queue=options.sink_queue)
        from otel_harn_steps._instrument.processor import StepSpanProcessor  # noqa: PLC0415 -- imports the SDK

        processor = StepSpanProcessor(*options.sinks, sink_queue=options.sink_queue)
        with guard("adding the span processor", ours=False):
            add(processor)
        return processor

    def _patch_library(self, name: str, _package: ModuleType) -> None:
        if name in self._patched:  # by another of its packages
            return
        self._patched.add(name)
        with guard(f"patching {name}"):
            self._patch_clients(LIBRARIES[name].load())

    def _patch_clients(self, adapters: Sequence[ClientAdapter]) -> None:
        from otel_harn_steps._instrument.clients import patch_clients  # noqa: PLC0415 -- imports the engine

        patch_clients(self.patcher, adapters)

    def _patch_again(self, kind: type) -> None:
        """Calls of a client class pass our wrapper by: others have put back what they found before we came."""
        if kind not in self._patched_again:
            self._patched_again.add(kind)
            self.patcher.wrap_again(kind)


def _start_at_zero(step: str, limit: str) -> None:
    from otel_harn_steps._telemetry.metrics import start_at_zero  # noqa: PLC0415 -- at the first limit

    start_at_zero(step, limit)


def _allow_baggage(keys: Sequence[str]) -> None:
    if keys or _LABELS in sys.modules:
        from otel_harn_steps._steps.labels import allow_baggage  # noqa: PLC0415 -- with the first step, or here

        allow_baggage(tuple(keys))


def _forget_prices() -> None:
    book: Any = sys.modules.get(_PRICE_BOOK)
    if book is not None:
        book.forget_prices()


def _remove(processor: SinkReceiver, provider: Any) -> None:
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
    registry: Any = sys.modules.get(_REGISTRY)
    if _current is not None and registry is not None:
        registry.watch_limits(_start_at_zero)  # the child's counters begin anew
