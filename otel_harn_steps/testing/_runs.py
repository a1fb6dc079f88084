"""A case's call, made once: bare, or in a step with the provider patched."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._guard import forget_faults
from otel_harn_steps._instrument.instrument import instrument, uninstrument
from otel_harn_steps._steps.decorator import step
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._telemetry.delivery import drain_completed_steps
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.testing._answers import Answer, Script, answer_of
from otel_harn_steps.testing._cases import Bill, RecordedCase
from otel_harn_steps.testing._modes import SYNC, AsyncMode, Mode, uncollected
from otel_harn_steps.testing._seen import Seen
from otel_harn_steps.testing._server import ReplayServer
from otel_harn_steps.testing._uses import Use, is_stream, reads

ClientFactory = Callable[[str], Any]
"""Makes a client for the server at a base URL. Returns the method that makes the call, or a context manager of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a call, or of several. `left` is what left the step: None if it ended quietly."""

    seen: Sequence[Seen]
    requests: int
    record: CompletedStep | None = None
    left: Exception | None = None
    faults: Sequence[str] = ()

    @property
    def bill(self) -> Bill:
        """What the record says."""
        assert self.record is not None, "a bare run has no record"
        return Bill.of_record(self.record)


@dataclass(frozen=True, slots=True)
class App:
    """An app that makes the call of a case by its own client."""

    case: RecordedCase
    client_factory: ClientFactory
    providers: Sequence[ClientAdapter]
    mode: Mode
    server: ReplayServer

    def bare(self, use: Use = reads, *script: Answer | Script) -> Run:
        """Without us."""
        exchange = self.server.serve(*(script or (answer_of(self.case),)))
        seen = Seen(f"{self.server.address}/{exchange.token}")
        self.mode.run(self._call(exchange.token, use, seen))
        return Run([seen], len(exchange.requests))

    def outside(self, use: Use = reads) -> Run:
        """Patched, and in no step. The record is None unless there is one all the same."""
        with _instrumented(self.providers) as faults:
            run = self.bare(use)
            records = drain_completed_steps()
        return Run(run.seen, run.requests, records[0] if records else None, faults=faults)

    def ours(
        self,
        use: Use = reads,
        *script: Answer | Script,
        calls: int = 1,
        budget: Mapping[str, Any] | None = None,
    ) -> Run:
        """Patched, in a step, that many times. An error of the budget is noted, and the app goes on."""
        exchange = self.server.serve(*(script or (answer_of(self.case),)))
        seen = [Seen(f"{self.server.address}/{exchange.token}") for _ in range(calls)]
        left: list[Exception] = []

        async def in_a_step() -> None:
            try:
                with step("conformance", **(budget or {})):
                    for each in seen:
                        await self._call(exchange.token, use, each)
            except StepBudgetExceeded as error:
                left.append(error)

        with _instrumented(self.providers) as faults:
            self.mode.run(in_a_step())
            (record,) = drain_completed_steps()
        return Run(seen, len(exchange.requests), record, left[0] if left else None, faults)

    async def _call(self, token: str, use: Use, seen: Seen) -> None:
        async with _entered(self.client_factory(f"{self.server.address}/{token}")) as call:
            try:
                with uncollected():
                    await use(await self.mode.settle(call(**self.case.request)), self.mode, seen)
            except Exception as error:  # noqa: BLE001 -- all of it is compared
                seen.raised(error)


@contextmanager
def opened(
    case: RecordedCase, client_factory: ClientFactory, providers: Sequence[ClientAdapter], server: ReplayServer
) -> Iterator[App]:
    """The app, in the mode of its client."""
    with _mode_of(partial(_first_result, case, client_factory, server)) as mode:
        yield App(case, client_factory, providers, mode, server)


@contextmanager
def _mode_of(first_result: Callable[[], bool]) -> Iterator[Mode]:
    if not first_result():
        yield SYNC
        return
    mode = AsyncMode()
    try:
        yield mode
    finally:
        mode.close()


def _first_result(case: RecordedCase, client_factory: ClientFactory, server: ReplayServer) -> bool:
    """Whether the client is an async one, seen by what a call of it returns."""
    exchange = server.serve(answer_of(case))
    made = client_factory(f"{server.address}/{exchange.token}")
    if _enters(made, "__aenter__"):
        return True
    if not _enters(made, "__enter__"):
        return _is_async(made, case)
    with made as call:
        return _is_async(call, case)


def _is_async(call: Callable[..., Any], case: RecordedCase) -> bool:
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        return True
    try:
        result = call(**case.request)
    except Exception:  # noqa: BLE001 -- a sync client, and a case that it raises for
        return False
    is_async = inspect.isawaitable(result) or hasattr(result, "__aiter__")
    if inspect.iscoroutine(result) or (not is_async and is_stream(result) and hasattr(result, "close")):
        result.close()
    return is_async


@asynccontextmanager
async def _entered(made: Any) -> AsyncIterator[Callable[..., Any]]:
    if _enters(made, "__aenter__"):
        async with made as call:
            yield call
    elif _enters(made, "__enter__"):
        with made as call:
            yield call
    else:
        yield made


def _enters(made: Any, by: str) -> bool:
    # Not by what `made` has: the wrapper of a patched method has everything, and claims the class of what it wraps.
    return hasattr(made.__class__, by)


class _Faults(logging.Handler):
    """Keeps what the guard logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "otel_harn_steps failed while" in text or "missing in the installed version" in text:
            self.logged.append(text)


@contextmanager
def _instrumented(providers: Sequence[ClientAdapter]) -> Iterator[list[str]]:
    faults = _Faults()
    logger = logging.getLogger("otel_harn_steps")
    logger.addHandler(faults)
    forget_faults()  # not each of them is logged: the next case has to log it again
    drain_completed_steps()
    instrument(providers=providers)
    try:
        yield faults.logged
    finally:
        uninstrument()
        logger.removeHandler(faults)
