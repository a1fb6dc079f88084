"""What a provider file tells the engine: how to see a client's calls, and what an answer says it cost."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from otel_harn_steps._calls.transport_errors import was_sent
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage
from otel_harn_steps._cost.values import value

SeamKind = Literal[
    "call",
    "async call",
    "late call",
    "late stream",
    "late async stream",
    "send",
    "response",
    "body",
    "async body",
    "fill",
]


@dataclass(frozen=True, slots=True)
class Seam:
    """A place of a client library that the engine wraps.

    Attributes:
        module: the module to patch once it is imported.
        target: the function or method in it, as "Class.method".
        kind: "call": every request to the provider passes here and its result returns to the app. "late call": as
            "call", but nothing is sent before the result (a generator, a context manager) is first advanced; "late
            stream": that is so where the call says `stream=True`. "send": a request passes here just before it is sent.
            "response": the HTTP response of a call passes here before the client parses it; "body": it is returned
            here. "fill": the app names a model here.
        is_optional: whether some supported version of the client does not have it.
        operation: what a call here does, as in `gen_ai.operation.name`, for a provider that goes by methods.
    """

    module: str
    target: str
    kind: SeamKind
    is_optional: bool = False
    operation: str = ""


@dataclass(slots=True)
class Request:
    """One request to a model, before it is sent.

    Attributes:
        operation: as in `gen_ai.operation.name`.
        provider: who bills it, as in `gen_ai.provider.name`.
        model: the model that is asked for.
        asks_usage: whether the engine has asked the stream for its usage, so that the answer to that is hidden.
        makes_own_span: whether somebody makes an inference span of it that is not current during the call: the client
            library itself, or another instrumentation when the answer is there.
        may_delegate: whether a patched client below may make the call, and so its span.
        terms: what the request itself says about its price.
    """

    operation: str
    provider: str
    model: str | None
    asks_usage: bool = False
    makes_own_span: bool = False
    may_delegate: bool = False
    terms: Terms = LIST_PRICE


@value
class Part:
    """What one model used within a call: most calls have one part. `model` None: the model of the call."""

    usage: Usage
    terms: Terms = LIST_PRICE
    model: str | None = None


@value
class ParsedResponse:
    """What an answer says of itself.

    Attributes:
        model: the model that answered.
        response_id: the provider's id of the answer.
        parts: what was used; empty where the provider did not tell.
        reported_usd: what the provider says that it charges, where it does. Comes before any price book.
        response: what a budget error keeps of the answer, where that is not what the seam returns.
    """

    model: str | None = None
    response_id: str | None = None
    parts: Sequence[Part] = ()
    reported_usd: object = None
    response: Any = None


class ClientAdapter(Protocol):
    """One client library. Data, and a function or two: the engine does the rest.

    A provider derives from this class and writes what it needs. The defaults are those of a client whose methods take
    keywords and whose last stream event tells the usage.
    """

    @property
    def name(self) -> str:
        """The client library's name, as in `import NAME`."""

    @property
    def seams(self) -> Sequence[Seam]:
        """Where the client's calls are."""

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        """What a call at the seam asks for. None: it is not a request to a model."""

    def prepare(self, request: Request, args: Sequence[Any], kwargs: dict[str, Any], *, ask_usage: bool) -> None:
        """Write `request.model` into the call where it names none, and ask a stream for its usage if `ask_usage`."""
        if request.model is not None and model_in(kwargs) is None:
            kwargs["model"] = request.model

    def undo_usage_request(self, request: Request, error: BaseException, args: Sequence[Any]) -> bool:
        """Take back the asking for usage if the server rejected it. Whether it did, and the call is made again."""
        return False

    def was_sent(self, error: BaseException) -> bool:
        """Whether the request of a failed call may have reached a model, so that it may be billed."""
        return was_sent(error)

    def watched(self, request: Request, result: Any, meter: Any) -> Any:
        """`result`, or what stands for it, where a stream lies in it that the engine does not see. None: there is none.

        Such a provider tells the meter itself what happens: `stream_opened`, `observe`, `settle`.
        """
        return None

    def read(self, request: Request, answer: Any) -> ParsedResponse:
        """What a whole answer says: an object of the client, or decoded JSON. Also what `fold` made of a stream."""

    def fold(self, state: Any, event: Any) -> Any:
        """The state after one more event of a stream. Begins with None."""
        return event

    def hides(self, event: Any) -> bool:
        """Whether the app must not see `event`, as it is there only because the engine asked; undo traces of asking."""
        return False


class ByMethod(ClientAdapter):
    """A client library with a method for each operation: a seam says which, and `operation` is that of the seam."""

    operation: str = ""

    def doing(self, operation: str) -> ByMethod:
        """This provider at a seam of `operation`."""
        twin = copy.copy(self)
        twin.operation = operation
        return twin


def model_in(arguments: Mapping[str, Any]) -> str | None:
    """The model that arguments name: clients have sentinels of their own for one that is left out."""
    model = arguments.get("model")
    return model if isinstance(model, str) and model else None
