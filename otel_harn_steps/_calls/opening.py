"""From a call at a seam to its meter: the request is read, a budget admits it, and it is prepared to be sent."""

from __future__ import annotations

from dataclasses import replace
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.context import get_current

from otel_harn_steps._calls.client import Call, ClientAdapter, Request
from otel_harn_steps._calls.meter import Meter
from otel_harn_steps._guard import guard
from otel_harn_steps._guard.finalisers import finish_freed, freed
from otel_harn_steps._settings import settings
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.ledger import OpenCall

if TYPE_CHECKING:
    from otel_harn_steps._steps.account import Account

# Made once: they are entered at every call.
_READING_REQUEST = guard(
    "reading a request", then="what can be a call to a model counts as one whose usage is unknown, and the app goes on"
)
_PREPARING_REQUEST = guard("preparing a request", then="it is sent as the app wrote it")
_COUNTING_UNREAD = guard("counting a call that could not be read", then="it is not counted, and the app goes on")


def open_meter(adapter: ClientAdapter, active: Account, call: Call, *, is_sent: bool = False) -> Meter | None:
    """The meter of a call at a seam, with the call prepared for it, unless it is sent already. It is to begin.

    None: not a request to a model.

    Raises:
        StepBudgetExceeded: the step is exhausted. Nothing was sent.
    """
    if freed:
        finish_freed()
    request = request_of(adapter, call)
    if request is not None and not is_sent:
        request = _prepared(adapter, active, call, request)
    if request is None:
        return None
    if not is_sent:
        admit(active, request)
    return Meter(adapter, call, request, active, get_current())


def admit(active: Account, request: Request) -> None:
    """Let a call be sent, unless a budget has no room for it.

    Raises:
        StepBudgetExceeded: the step is exhausted. Nothing was sent.
    """
    try:
        active.admit()
    except StepBudgetExceeded:
        OpenCall(active, request.provider, request.operation, request.model, time_ns()).refuse()
        raise


def prepare_deferred(adapter: ClientAdapter, active: Account | None, call: Call) -> bool:
    """Prepare a call that is sent later, while its arguments can still be changed. Whether it is one to a model."""
    request = request_of(adapter, call)
    if request is not None and active is not None:
        _prepared(adapter, active, call, request)
    return request is not None


def request_of(adapter: ClientAdapter, call: Call) -> Request | None:
    """What a call asks for, as far as it can be read. None: it is not a request to a model, or may be none."""
    with _READING_REQUEST:
        return adapter.request(call)
    with _COUNTING_UNREAD:
        return adapter.unread(call)
    return None


def _prepared(adapter: ClientAdapter, active: Account, call: Call, request: Request) -> Request:
    if not request.is_read:
        return request
    default = active.definition.model
    with _PREPARING_REQUEST:
        wanted = replace(request, model=default) if request.model is None and default is not None else request
        return adapter.prepare(call, wanted, ask_usage=settings().stream_usage)
    return request
