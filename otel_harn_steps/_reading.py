"""What a provider file tells the engine: how to see a client's calls, and what an answer says it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from otel_harn_steps._usage import LIST_PRICE, Terms, Usage

SeamKind = Literal["call", "async call", "response", "fill"]


@dataclass(frozen=True, slots=True)
class Seam:
    """A place of a client library that the engine wraps.

    Attributes:
        module: the module to patch once it is imported.
        target: the function or method in it, as "Class.method".
        kind: "call": every request to the provider passes here and its result returns to the app. "response": the
            HTTP response of a call passes here before the client parses it. "fill": the app names a model here.
        is_optional: whether some supported version of the client does not have it.
    """

    module: str
    target: str
    kind: SeamKind
    is_optional: bool = False


@dataclass(slots=True)
class Request:
    """One request to a model, before it is sent.

    Attributes:
        operation: as in `gen_ai.operation.name`.
        provider: who bills it, as in `gen_ai.provider.name`.
        model: the model that is asked for.
        asks_usage: whether the engine has asked the stream for its usage, so that the answer to that is hidden.
        makes_own_span: whether the client library makes an inference span by itself.
        terms: what the request itself says about its price.
    """

    operation: str
    provider: str
    model: str | None
    asks_usage: bool = False
    makes_own_span: bool = False
    terms: Terms = LIST_PRICE


@dataclass(frozen=True, slots=True)
class Part:
    """What one model used within a call: most calls have one part. `model` None: the model of the call."""

    usage: Usage
    terms: Terms = LIST_PRICE
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says of itself.

    Attributes:
        model: the model that answered.
        response_id: the provider's id of the answer.
        parts: what was used; empty where the provider did not tell.
        reported_usd: what the provider says that it charges, where it does. Comes before any price book.
    """

    model: str | None = None
    response_id: str | None = None
    parts: Sequence[Part] = ()
    reported_usd: object = None


class Provider(Protocol):
    """One client library. Data, and a function or two: the engine does the rest."""

    @property
    def name(self) -> str:
        """The client library's name, as in `import NAME`."""

    @property
    def seams(self) -> Sequence[Seam]:
        """Where the client's calls are."""

    def request(self, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request | None:
        """What a call at the seam asks for. None: it is not a request to a model."""

    def prepare(self, request: Request, args: Sequence[Any], kwargs: Mapping[str, Any], *, ask_usage: bool) -> None:
        """Write `request.model` into the call where it names none, and ask a stream for its usage if `ask_usage`."""

    def withdraw(self, request: Request, error: BaseException, args: Sequence[Any]) -> bool:
        """Take back the asking for usage if the server rejected it. Whether it did, and the call is made again."""

    def was_sent(self, error: BaseException) -> bool:
        """Whether the request of a failed call may have reached a model, so that it may be billed."""

    def read(self, request: Request, answer: Any) -> Reading:
        """What a whole answer says: an object of the client, or decoded JSON. Also what `fold` made of a stream."""

    def fold(self, state: Any, event: Any) -> Any:
        """The state after one more event of a stream. Begins with None."""

    def hides(self, event: Any) -> bool:
        """Whether the app must not see `event`, as it is there only because the engine asked; undo traces of asking."""
