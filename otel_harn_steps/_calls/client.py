"""What a client file says to the engine: where a client's calls are, and what a response says it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from otel_harn_steps._calls.transport_errors import was_sent
from otel_harn_steps._cost.estimate import lower_output_cap
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage
from otel_harn_steps._cost.values import value

Role = Literal["call", "send", "response", "body", "fill", "parent"]


@dataclass(frozen=True, slots=True)
class Seam:
    """A function of a client library that the engine wraps.

    Attributes:
        module: the module to patch once it is imported.
        target: the function or method in it, as "Class.method".
        role: "call": every request to the provider passes here and its result returns to the app. "send": a request
            passes here just before it is sent. "response": the HTTP response of a call passes here before the client
            parses it; "body": it is returned here. "fill": the app names a model here. "parent": the client's own
            tracing asks here for the span around the call, and writes to it.
        is_async: whether the function is a coroutine function.
        deferred: whether a call here sends nothing before its result (a generator, a context manager) is first
            advanced; "stream": only where the call says `stream=True`.
        is_optional: whether some supported version of the client does not have it.
        operation: what a call here does, as in `gen_ai.operation.name`, for a client with a method for each.
    """

    module: str
    target: str
    role: Role = "call"
    is_async: bool = False
    deferred: Literal["stream"] | bool = False
    is_optional: bool = False
    operation: str = ""


@value
class Call:
    """A call at a seam, as the app makes it. `kwargs` may be changed before it is sent.

    Attributes:
        instance: the object whose method is called; None for a function.
        args: the positional arguments.
        kwargs: the keyword arguments.
        operation: that of the seam.
    """

    instance: Any
    args: Sequence[Any]
    kwargs: dict[str, Any]
    operation: str = ""


@value
class Request:
    """One request to a model, before it is sent.

    Attributes:
        operation: as in `gen_ai.operation.name`.
        provider: who bills it, as in `gen_ai.provider.name`.
        model: the requested model.
        asks_usage: whether the engine has asked the stream for its usage, so that the answer to that is hidden.
        makes_own_span: whether somebody makes an inference span of it that is not current during the call: the client
            library itself, or another instrumentation once the response is there.
        may_delegate: whether a patched client below may make the call, and so its span.
        terms: what the request itself says about its price.
        job: "fetch": it looks at a job in the background; "resume": it lets one go on. Such a look is no call.
        host: the name of the host that it goes to, which may say who bills. None: unknown, or the provider's own.
        port: the port there. None: that of the protocol, or unknown.
        is_read: whether the call could be read. If not, nothing is known of what it costs.
        is_filled: whether the model is the step's default, because the app names none.
    """

    operation: str
    provider: str
    model: str | None
    asks_usage: bool = False
    makes_own_span: bool = False
    may_delegate: bool = False
    terms: Terms = LIST_PRICE
    job: Literal["", "fetch", "resume"] = ""
    host: str | None = None
    port: int | None = None
    is_read: bool = True
    is_filled: bool = False


UNKNOWN_OPERATION: Final = "unknown"
"""The operation of a call that could not be read."""


@value
class Part:
    """What one model used within a call: most calls have one part. `model` None: the model of the call."""

    usage: Usage
    terms: Terms = LIST_PRICE
    model: str | None = None


@value
class ParsedResponse:
    """What a response says of itself.

    Attributes:
        model: the model that answered.
        response_id: the provider's id of the response.
        parts: what was used; empty where the provider reported nothing.
        reported_usd: what the provider says that it charges, where it does. Comes before any price book.
        response: what a budget error keeps of the response, where that is not what the seam returns.
        job_id: the job in the background that this is the result of.
        is_job_of_any_process: whether such a result is billed where the job was not started in this process.
    """

    model: str | None = None
    response_id: str | None = None
    parts: Sequence[Part] = ()
    reported_usd: object = None
    response: Any = None
    job_id: str | None = None
    is_job_of_any_process: bool = False


NOT_A_CALL: Final = ParsedResponse()
"""Parsed from a response that spent nothing: a look at a job that is still running, a cache."""


class ClientAdapter(Protocol):
    """One client library. Data, and a function or two: the engine does the rest.

    An adapter derives from this class and writes what it needs. The defaults are those of a client whose methods take
    keywords and whose last stream event reports the usage.
    """

    @property
    def name(self) -> str:
        """The client library's name, as in `import NAME`."""

    @property
    def seams(self) -> Sequence[Seam]:
        """Where the client's calls are."""

    @property
    def provider(self) -> str:
        """Who bills, as in `gen_ai.provider.name`, where a request does not say."""
        return self.name

    @property
    def positional(self) -> Sequence[str]:
        """The names of what the client's methods take by position."""
        return ()

    def request(self, call: Call) -> Request | None:
        """What a call asks for. None: it is not a request to a model."""

    def unread(self, call: Call) -> Request | None:
        """What a call counts as where `request` raised: the client may have changed. None: it may be no model call.

        A seam with an operation lets nothing pass but requests to models.
        """
        return self.unread_request(call.operation) if call.operation else None

    def unread_request(self, operation: str = UNKNOWN_OPERATION) -> Request:
        """A request of which no more is known than this."""
        # A client below may be read, and then it bills.
        return Request(operation, self.provider, None, may_delegate=True, is_read=False)

    def prepare(self, call: Call, request: Request, *, ask_usage: bool) -> Request:
        """Write `request.model` into a call that names none, and ask a stream for its usage if `ask_usage`.

        Returns the request as it is sent.
        """
        if request.model is not None and model_in(call.kwargs) is None:
            call.kwargs["model"] = request.model
        return request

    def sent_body(self, call: Call) -> Any:
        """What a call sends, for an estimate of its input: numbers are made of it, and nothing of it is kept."""
        return {**dict(zip(self.positional, call.args, strict=False)), **call.kwargs} if call.args else call.kwargs

    def lower_output(self, call: Call, cap: int) -> bool:
        """Make a call allow at most `cap` output tokens, where it says how many it allows. Whether it does so now."""
        return lower_output_cap(call.kwargs, cap)

    def undo_usage_request(self, call: Call, request: Request, error: BaseException) -> Request | None:
        """Take back the request for usage if that is what the server rejected: the call is made again. Else None."""
        return None

    def was_sent(self, error: BaseException) -> bool:
        """Whether the request of a failed call may have reached a model, so that it may be billed."""
        return was_sent(error)

    def watch(self, request: Request, result: Any, meter: Any) -> Any:
        """`result`, or its replacement, where it holds a stream that the engine does not see. None: it does not.

        Such an adapter calls the meter itself: `stream_opened`, `observe`, `settle`.
        """
        return None

    def started_job(self, request: Request, result: Any) -> str | None:
        """The id of the job in the background that `result` has started, or that goes on. None: it is a response."""
        return None

    def parse(self, request: Request, response: Any) -> ParsedResponse:
        """What a whole response says: an object of the client, or decoded JSON. Also what `fold` made of a stream."""

    def fold(self, state: Any, event: Any) -> Any:
        """The state after one more event of a stream. Begins with None."""
        return event

    def plain(self, request: Request, state: Any) -> Callable[[Any], bool] | None:
        """A quick look that knows most of the events for which `fold` would leave `state` as it is.

        Where the engine asked for usage, it restores them too: the app gets the same object. None: each event has to
        be folded. It is asked for again whenever the state has changed.
        """
        return None

    def content(self, event: Any) -> Any:
        """What of an event holds generated text, where a budget counts it: an object of the client, or decoded JSON."""
        return event

    def restore(self, event: Any) -> Any:
        """`event` as the app would have got it had the engine not asked for usage. None: it would have got none."""
        return event


def model_in(arguments: Mapping[str, Any]) -> str | None:
    """The model that arguments name: clients have sentinels of their own for one that is left out."""
    model = arguments.get("model")
    return model if isinstance(model, str) and model else None
