"""The engine: what happens around every call of every patched client.

no active step?  pass through ► meter opened, step admits ► the call, untouched ► usage read, priced, billed
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import attach, detach

from otel_harn_steps._active import ActiveStep, current_step
from otel_harn_steps._guard import guard
from otel_harn_steps._meter import Meter, body_of, current_meter, decoded, open_meter
from otel_harn_steps._reading import Provider, SeamKind
from otel_harn_steps._streams import has_iterator, watch_body, watch_stream

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class Switch:
    """Whether the patches do anything. Off, they pass through wherever they could not be taken out."""

    is_on = False


def wrapper_for(provider: Provider, kind: SeamKind) -> Wrapper:
    """What wraps a seam of `provider`."""
    return {
        "call": _call,
        "async call": _call_async,
        "response": _response,
        "fill": _fill,
    }[kind](provider)


def _here() -> ActiveStep | None:
    return current_step() if Switch.is_on else None


def _call(provider: Provider) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        active = _here()
        if active is None:
            return wrapped(*args, **kwargs)
        active.admit()
        meter = open_meter(provider, active, instance, args, kwargs)
        if meter is None:
            return wrapped(*args, **kwargs)
        token = attach(meter.context)
        try:
            try:
                result = wrapped(*args, **kwargs)
            except Exception as error:
                if not meter.goes_again(error, args):
                    raise
                result = wrapped(*args, **kwargs)
        except BaseException as error:
            meter.failed(error)
            raise
        finally:
            detach(token)
        _settle(meter, result)
        return result

    return call


def _call_async(provider: Provider) -> Wrapper:
    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        active = _here()
        if active is None:
            return await wrapped(*args, **kwargs)
        active.admit()
        meter = open_meter(provider, active, instance, args, kwargs)
        if meter is None:
            return await wrapped(*args, **kwargs)
        token = attach(meter.context)
        try:
            try:
                result = await wrapped(*args, **kwargs)
            except Exception as error:
                if not meter.goes_again(error, args):
                    raise
                result = await wrapped(*args, **kwargs)
        except BaseException as error:
            meter.failed(error)
            raise
        finally:
            detach(token)
        _settle(meter, result)
        return result

    return call


def _settle(meter: Meter, result: Any) -> None:
    """Bill the call now, or when its stream or its body has been read.

    Raises:
        StepBudgetExceeded: the call crossed a limit.
    """
    if meter.is_delegated:
        meter.abandoned()
        return
    answer = result
    with guard("watching a result"):
        if has_iterator(result):
            watch_stream(result, meter)
            return
        http_response = _raw(result)
        if http_response is not None:
            body = body_of(http_response)
            if body is None:
                watch_body(http_response, meter)
                return
            answer = decoded(body)
    meter.answered(answer, result)


def _raw(result: Any) -> Any:
    """The HTTP response of a result that the client has not parsed."""
    if hasattr(result, "iter_bytes") and hasattr(result, "is_closed") and hasattr(result, "content"):
        return result
    return getattr(result, "http_response", None)


def _response(provider: Provider) -> Wrapper:
    """Remember the HTTP response of the call: parsing may raise after the tokens were spent."""

    def remember(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        meter = current_meter()
        if meter is not None and meter.is_of(provider):
            meter.http_response = kwargs.get("response")
        return wrapped(*args, **kwargs)

    return remember


def _fill(_: Provider) -> Wrapper:
    """Name the step's default model where the app names none: the client checks that before it calls the seam."""

    def fill(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "model" not in kwargs and not args:
            active = _here()
            if active is not None and active.definition.model is not None:
                kwargs = {**kwargs, "model": active.definition.model}
        return wrapped(*args, **kwargs)

    return fill
