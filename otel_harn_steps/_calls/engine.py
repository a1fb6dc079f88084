"""The engine: what happens around every call of every patched client.

no active step, no open run?  pass through ► meter opened, step admits ► the call, untouched ► usage read, billed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final

from otel_harn_steps._calls.client import Call, ClientAdapter, Seam
from otel_harn_steps._calls.deferred import watch_deferred
from otel_harn_steps._calls.fields import field
from otel_harn_steps._calls.meter import Meter, current_meter
from otel_harn_steps._calls.opening import admit, open_meter, prepare_deferred, request_of
from otel_harn_steps._calls.raw_bodies import body_of, decoded, watch_body
from otel_harn_steps._calls.shared_spans import not_ours
from otel_harn_steps._calls.streams import has_method, is_whole, watched
from otel_harn_steps._calls.waiting import opened, opened_async
from otel_harn_steps._guard import guard
from otel_harn_steps._patching.frames import passed_over
from otel_harn_steps._steps.active import account_here, current_account
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.labels import keeping_baggage
from otel_harn_steps._steps.pausing import goes_on, goes_on_async
from otel_harn_steps._steps.reservation import RoomMayComeError, Waits

# Made once: they are entered at every call.
_WATCHING_RESULT = guard("watching a result")
_PATCHING_CLIENT_AGAIN = guard("patching a client again")
_REMEMBERING_RESPONSE = guard("remembering a response")
_FINDING_PARENT = guard("looking at the span that a client writes to", ours=False)

_NO_ROOM: Final[Any] = object()
"""In the place of a meter: there may be room for the call later."""

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


_on_bypass: Callable[[type], None] | None = None


def watch_bypass(on_bypass: Callable[[type], None] | None) -> None:
    """Call `on_bypass` with each client class whose calls pass "call" by."""
    global _on_bypass  # noqa: PLW0603 -- one watcher, for all of the process
    _on_bypass = on_bypass


def wrapper_for(adapter: ClientAdapter, seam: Seam) -> Wrapper:
    """What wraps a seam of a client."""
    if seam.role == "call":
        return _WRAPPERS_OF_CALLS[seam.is_async, seam.deferred](adapter, seam.operation)
    if seam.role == "body":
        return (_body_async if seam.is_async else _body)(adapter)
    return {"send": _send, "response": _response, "fill": _fill, "parent": _parent}[seam.role](adapter)


def _call(adapter: ClientAdapter, operation: str) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            meter = _admitted(adapter, instance, args, kwargs, operation, waits=Waits.FOR_ROOM)
        except RoomMayComeError:
            meter = _NO_ROOM
        if meter is _NO_ROOM:
            meter = opened(partial(_admitted, adapter, instance, args, kwargs, operation))
        if meter is None:
            with keeping_baggage():
                return wrapped(*args, **kwargs)
        try:
            try:
                meter.begin()
                result = wrapped(*args, **kwargs)
            except Exception as error:
                if not meter.should_retry_without_usage(error):
                    raise
                result = wrapped(*args, **kwargs)
            finally:
                meter.leave()
            try:
                return _settled(meter, result)
            except StepBudgetExceeded as error:
                if not goes_on(error):
                    raise
                return result
        except BaseException as error:
            meter.failed(error)
            raise

    return call


def _call_async(adapter: ClientAdapter, operation: str) -> Wrapper:
    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            meter = _admitted(adapter, instance, args, kwargs, operation, waits=Waits.FOR_ROOM)
        except RoomMayComeError:
            meter = _NO_ROOM
        if meter is _NO_ROOM:
            meter = await opened_async(partial(_admitted, adapter, instance, args, kwargs, operation))
        if meter is None:
            with keeping_baggage():
                return await wrapped(*args, **kwargs)
        try:
            try:
                meter.begin()
                result = await wrapped(*args, **kwargs)
            except Exception as error:
                if not meter.should_retry_without_usage(error):
                    raise
                result = await wrapped(*args, **kwargs)
            finally:
                meter.leave()
            try:
                return _settled(meter, result)
            except StepBudgetExceeded as error:
                if not await goes_on_async(error):
                    raise
                return result
        except BaseException as error:
            meter.failed(error)
            raise

    return call


def _call_deferred(adapter: ClientAdapter, operation: str) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = Call(instance, args, kwargs, operation)
        if not prepare_deferred(adapter, current_account(), made):
            return wrapped(*args, **kwargs)
        opens = partial(_admitted, adapter, instance, args, kwargs, operation)
        return watch_deferred(wrapped(*args, **kwargs), opens, lambda: wrapped(*args, **kwargs))

    return call


def _stream_deferred(adapter: ClientAdapter, operation: str) -> Wrapper:
    at_once, deferred = passed_over(_call(adapter, operation)), passed_over(_call_deferred(adapter, operation))

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (deferred if kwargs.get("stream") else at_once)(wrapped, instance, args, kwargs)

    return call


def _stream_deferred_async(adapter: ClientAdapter, operation: str) -> Wrapper:
    at_once = passed_over(_call_async(adapter, operation))

    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not kwargs.get("stream"):
            return await at_once(wrapped, instance, args, kwargs)
        made = Call(instance, args, kwargs, operation)
        if not prepare_deferred(adapter, current_account(), made):
            return await wrapped(*args, **kwargs)
        result = await wrapped(*args, **kwargs)
        opens = partial(_admitted, adapter, instance, args, kwargs, operation)
        return watch_deferred(result, opens, lambda: wrapped(*args, **kwargs))

    return call


# By whether the function is a coroutine function, and whether it defers its request. What is deferred sync or async
# is seen by what the function returns, so a deferred coroutine function has no entry.
_WRAPPERS_OF_CALLS: Final[Mapping[tuple[bool, object], Callable[[ClientAdapter, str], Wrapper]]] = {
    (False, False): _call,
    (True, False): _call_async,
    (False, True): _call_deferred,
    (False, "stream"): _stream_deferred,
    (True, "stream"): _stream_deferred_async,
}


def _admitted(
    adapter: ClientAdapter,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    operation: str,
    *,
    waits: Waits,
) -> Meter | None:
    """The meter of a call that is about to be sent. None: nothing pays for it here, or it is not a call to a model.

    Raises:
        StepBudgetExceeded, StepBudgetStop, RoomMayComeError: as `open_meter`. Nothing was sent.
    """
    active, context = account_here()
    if active is None:
        return None
    return open_meter(adapter, active, Call(instance, args, kwargs, operation), context, waits=waits)


def _settled(meter: Meter, result: Any) -> Any:
    """Bill the call now, or when its stream or its body has been read. What the app gets: `result`, or one like it.

    Raises:
        StepBudgetExceeded: the call crossed a limit.
    """
    if meter.is_delegated:
        meter.abandoned()
        return result
    response = result
    try:
        stream = meter.watched(result)
        kind: type = type(result)
        is_opaque = not is_whole(kind)
        if stream is None and is_opaque:
            stream = watched(result, meter)
        if stream is not None:
            return stream
        http_response = _raw(result) if is_opaque else None
        if http_response is not None:
            body = body_of(http_response)
            if body is None:
                watch_body(http_response, meter)
                return result
            response = decoded(body)
    except Exception as fault:
        if not _WATCHING_RESULT.drops(fault):
            raise
    meter.answered(response, result)
    return result


def _raw(result: Any) -> Any:
    """The HTTP response of a result that the client has not parsed."""
    if has_method(type(result), "iter_bytes") and hasattr(result, "is_closed") and hasattr(result, "content"):
        return result
    return field(result, "http_response")


# Somebody may hold the client's own method from before it was patched, so that calls pass "call" by. "send" and
# "response" lie below it, and are looked up for each call: they see to what "call" would have seen to.


def _send(adapter: ClientAdapter) -> Wrapper:
    """Refuse what an exhausted step sends."""

    def send(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        meter = current_meter()
        active = None if meter is not None and meter.is_of(adapter) else current_account()
        if active is not None:
            # A request is built from its options alone, which come second where it is made.
            request = request_of(adapter, Call(instance, (None, *args), kwargs))
            if request is not None:
                admit(active, request)
        return wrapped(*args, **kwargs)

    return send


def _response(adapter: ClientAdapter) -> Wrapper:
    """Remember the HTTP response of the call: parsing may raise after the tokens were spent."""

    def respond(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        meter = current_meter()
        if meter is not None and meter.is_of(adapter):
            meter.http_response = kwargs.get("response")
            meter.meet_clients_span()
            return wrapped(*args, **kwargs)
        active, context = account_here()
        made = Call(instance, args, kwargs)
        meter = None if active is None else open_meter(adapter, active, made, context, is_sent=True)
        if meter is None:
            return wrapped(*args, **kwargs)
        if _on_bypass is not None:
            with _PATCHING_CLIENT_AGAIN:
                _on_bypass(type(instance))
        meter.http_response = kwargs.get("response")
        if iscoroutinefunction(wrapped):
            return _respond_async(meter, wrapped, args, kwargs)
        try:
            meter.begin(is_sent=True)
            return _settled(meter, wrapped(*args, **kwargs))
        except BaseException as error:
            meter.failed(error)
            raise

    return respond


@passed_over
async def _respond_async(
    meter: Meter, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        meter.begin(is_sent=True)
        return _settled(meter, await wrapped(*args, **kwargs))
    except BaseException as error:
        meter.failed(error)
        raise


def _body(adapter: ClientAdapter) -> Wrapper:
    """Remember the HTTP response of the call, where the client hands it out before it parses it."""

    def remember(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _remembered(adapter, wrapped(*args, **kwargs))

    return remember


def _body_async(adapter: ClientAdapter) -> Wrapper:
    async def remember(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _remembered(adapter, await wrapped(*args, **kwargs))

    return remember


def _remembered(adapter: ClientAdapter, http_response: Any) -> Any:
    with _REMEMBERING_RESPONSE:
        meter = current_meter()
        # An error's body reports no usage, and the client raises for it.
        if meter is not None and meter.is_of(adapter) and getattr(http_response, "status_code", 200) < 400:
            meter.http_response = http_response
    return http_response


def _fill(_: ClientAdapter) -> Wrapper:
    """Name the step's default model where the app names none: the client checks that before it calls the seam."""

    def fill(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "model" not in kwargs and not args:
            active = current_account()
            default = None if active is None else active.default_model
            if default is not None:
                kwargs = {**kwargs, "model": default}
        return wrapped(*args, **kwargs)

    return fill


def _parent(_: ClientAdapter) -> Wrapper:
    """Keep what the client's own tracing says of a call off a step's span, which a backend would take for a call."""

    def parent(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = wrapped(*args, **kwargs)
        with _FINDING_PARENT:
            around, span = found
            return around, not_ours(span)
        return found

    return parent
