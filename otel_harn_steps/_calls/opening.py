"""From a call at a seam to its meter: the request is read, a budget admits it, and it is prepared to be sent."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING

from otel_harn_steps import _settings
from otel_harn_steps._calls.client import Call, ClientAdapter, Request
from otel_harn_steps._calls.meter import METER_KEY, Meter
from otel_harn_steps._calls.projection import projection_of
from otel_harn_steps._calls.repeating import asked_by
from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import finish_freed, freed
from otel_harn_steps._steps.by_label import by_label
from otel_harn_steps._steps.errors import StepBudgetExceeded, StepBudgetStop
from otel_harn_steps._steps.ledger import OpenCall
from otel_harn_steps._steps.reservation import NOTHING_PROJECTED, Projection, Reservation, Waits
from otel_harn_steps._steps.tree import COMMON

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from otel_harn_steps._steps.account import Account

# Made once: they are entered at every call.
_READING_REQUEST = guard(
    "reading a request", then="what can be a call to a model counts as one whose usage is unknown, and the app goes on"
)
_PREPARING_REQUEST = guard("preparing a request", then="it is sent as the app wrote it")
_PROJECTING = guard("estimating a call", then="nothing is held for it")
_LOWERING = guard("lowering what a call allows", then="it is sent as the app wrote it")
_COUNTING_UNREAD = guard("counting a call that could not be read", then="it is not counted, and the app goes on")


def open_meter(
    adapter: ClientAdapter,
    active: Account,
    call: Call,
    context: Context,
    *,
    is_sent: bool = False,
    waits: Waits = Waits.FOR_NOTHING,
) -> Meter | None:
    """The meter of a call at a seam in `context`, prepared for it, unless it is sent already. It is to begin.

    None: not a request to a model.

    Raises:
        StepBudgetExceeded: the step is exhausted, or has no room for the call. Nothing was sent.
        StepBudgetStop: the same, in a loop that tries again.
        RoomMayComeError: there may be room later, and the caller waits for that.
    """
    if freed:
        finish_freed()
    request = request_of(adapter, call)
    if request is None:
        return None
    asked = asked_by(adapter, call, request) if active.wants.watches_loops else None
    reservation = None
    if not is_sent:
        if request.model is None:
            request = _with_model(active, request)
        if active.is_covered or (active.tree is COMMON and by_label(active).accounts):
            reservation = _reserved(adapter, active, call, request, context, waits=waits)
        # Last: a call that waits for room, or is refused, is as the app wrote it.
        if request.is_read:
            request = _prepared(adapter, call, request)
        if reservation is not None and reservation.output_cap is not None:
            with _LOWERING:
                adapter.lower_output(call, reservation.output_cap)
    return Meter(adapter, call, request, active, context, reservation=reservation, asked=asked)


def _reserved(
    adapter: ClientAdapter, active: Account, call: Call, request: Request, context: Context, *, waits: Waits
) -> Reservation | None:
    if request.job == "fetch":  # a look at a job spends nothing, and its report is billed to whoever gets it
        admit(active, request)
        return None
    outer: Meter | None = context.get(METER_KEY)  # type: ignore[assignment]  # as `Meter.begin` sets it
    if outer is not None and outer.is_calling:  # the same call, which this client is asked to make
        outer.release()
    return admit(active, request, partial(_projected, adapter, active, call, request), waits=waits)


def _projected(adapter: ClientAdapter, active: Account, call: Call, request: Request) -> Projection:
    with _PROJECTING:
        return projection_of(active, request, adapter.sent_body(call) if request.is_read else call.kwargs)
    return NOTHING_PROJECTED


def admit(
    active: Account,
    request: Request,
    project: Callable[[], Projection] | None = None,
    *,
    waits: Waits = Waits.FOR_NOTHING,
) -> Reservation | None:
    """Let a call be sent, unless a budget has no room for it. Returns what the budgets hold for it.

    Args:
        active: what it is billed to.
        request: what it asks for.
        project: says what it may spend. None: nothing is held for it.
        waits: what the caller can wait for.

    Raises:
        StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `open_meter`.
    """
    try:
        return active.admit(project, waits=waits)
    except (StepBudgetExceeded, StepBudgetStop):
        OpenCall(active, request.provider, request.operation, request.model, time_ns()).refuse()
        raise


def prepare_deferred(adapter: ClientAdapter, active: Account | None, call: Call) -> bool:
    """Prepare a call that is sent later, while its arguments can still be changed. Whether it is one to a model."""
    request = request_of(adapter, call)
    if request is not None and request.is_read and active is not None:
        _prepared(adapter, call, _with_model(active, request))
    return request is not None


def request_of(adapter: ClientAdapter, call: Call) -> Request | None:
    """What a call asks for, as far as it can be read. None: it is not a request to a model, or may be none."""
    try:
        return adapter.request(call)
    except Exception as fault:
        if not _READING_REQUEST.drops(fault):
            raise
    with _COUNTING_UNREAD:
        return adapter.unread(call)
    return None


def _with_model(active: Account, request: Request) -> Request:
    """The request with the model of its step, where the app names none."""
    if request.model is not None or not request.is_read:
        return request
    default = active.default_model
    return request if default is None else replace(request, model=default, is_filled=True)


def _prepared(adapter: ClientAdapter, call: Call, request: Request) -> Request:
    try:
        return adapter.prepare(call, request, ask_usage=_settings.in_force.stream_usage)
    except Exception as fault:
        if not _PREPARING_REQUEST.drops(fault):
            raise
    return request
