"""What a budget assumes for what is not known of a call: nothing unknown is free."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from otel_harn_steps import _settings
from otel_harn_steps._cost.estimate import Generated, generated, output_tokens, request_tokens
from otel_harn_steps._cost.price_book import dearest_picousd, price_of
from otel_harn_steps._cost.usage import Usage
from otel_harn_steps._guard import guard
from otel_harn_steps._steps.by_label import by_label
from otel_harn_steps._steps.ledger import bill

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_harn_steps._steps.account import Account
    from otel_harn_steps._steps.errors import StepBudgetExceeded
    from otel_harn_steps._steps.totals import ModelCall


_MOST_KEPT: Final = 32
"""As many events of a stream are kept. Then every other one goes, and each of the others stands for twice as many."""


class Output:
    """What a stream has sent so far: its text, and numbers."""

    __slots__ = ("_events", "_more", "_parts", "_reported", "_size")

    def __init__(self) -> None:
        self._size = self._more = self._events = self._reported = 0
        self._parts: list[str] = []

    def add(self, content: Any) -> None:
        """Take in what one event has brought."""
        found = generated(content)
        if found.text:
            self._parts.append(found.text)
        if found.text or found.more:
            self._size += found.size
            self._more += found.more
            self._events += 1

    def report(self, tokens: int) -> None:
        """The provider has said what all that came so far has used."""
        self._reported = tokens
        self._size = self._more = self._events = 0

    @property
    def tokens(self) -> int:
        """What the provider has counted, and an estimate of what came since."""
        return self._reported + output_tokens(self._size, self._events, self._more)

    @property
    def text(self) -> str | None:
        """The text. It stays in this process. None: it is not known."""
        return "".join(self._parts)


class SampledOutput(Output):
    """What a stream has sent so far, as numbers: some events stand for all.

    Most streams report their usage, so nothing is measured until somebody asks.

    Attributes:
        until_next: the events until the next that is kept, that one included. The reader of the stream counts it down.
    """

    __slots__ = ("_content", "_kept", "until_next")

    def __init__(self, content: Callable[[Any], Any]) -> None:
        super().__init__()
        self._content = content
        # How many events each stands for, and each in a list, in which what was found in it takes its place. Another
        # thread may look at any time.
        self._kept: tuple[int, list[list[Any]]] = (1, [])
        self.until_next = 1

    def keep(self, event: Any) -> int:
        """Take in the event that `until_next` has counted down to, and begin anew."""
        weight, kept = self._kept
        kept.append([event])
        if len(kept) >= _MOST_KEPT:
            weight *= 2
            self._kept = weight, kept[1::2]
        self.until_next = weight
        return weight

    @property
    def tokens(self) -> int:
        """An estimate of what came."""
        weight, kept = self._kept
        found = [self._found_in(each) for each in list(kept)]
        bringing = [each for each in found if each.text or each.more]
        size, more = sum(each.size for each in bringing), sum(each.more for each in bringing)
        return output_tokens(size * weight, len(bringing) * weight, more * weight)

    def _found_in(self, kept: list[Any]) -> Generated:
        found = kept[0]
        if not isinstance(found, Generated):
            found = kept[0] = generated(self._content(found))
        return found

    @property
    def text(self) -> str | None:
        """It is not known."""
        return None


def estimated(
    call: ModelCall, *, asked: Any, output: Output | None, response: Any, at: float, host: str | None
) -> ModelCall:
    """`call` with the estimates that the settings ask for. Its measured numbers stay what they are.

    Args:
        call: what is known.
        asked: the body of the request.
        output: what a stream has sent.
        response: a whole answer.
        at: when it was sent, in seconds since the epoch.
        host: where.
    """
    usage, wanted = call.usage, _settings.in_force
    if usage is None or not usage.is_complete:
        if wanted.unmetered != "estimate":
            return call
        known = usage or Usage(None, None)
        guess_in = 0 if known.input_tokens is not None else request_tokens(asked)
        guess_out = 0 if known.output_tokens is not None else _output(output, response)
        tokens = guess_in + guess_out
        full = replace(
            known,
            input_tokens=guess_in if known.input_tokens is None else known.input_tokens,
            output_tokens=guess_out if known.output_tokens is None else known.output_tokens,
        )
        cost, _ = price_of(call.provider, call.model, full, call.terms, at, host=host)
        if cost is None:
            cost = dearest_picousd(call.provider, full) if wanted.unpriced == "estimate" else 0
        rest = max(0, cost - (call.cost_picousd or 0))
        return replace(call, estimated_tokens=tokens, estimated_picousd=rest, certainty="estimated")
    if call.cost_picousd is None and wanted.unpriced == "estimate":
        return replace(call, estimated_picousd=dearest_picousd(call.provider, usage))
    return call


def bill_at_once(account: Account, call: ModelCall, at: float) -> StepBudgetExceeded | None:
    """Bill a call that is over, with what a budget assumes of it. Returns the breach of a budget, to be raised.

    Args:
        account: what it is billed to.
        call: what is known of it.
        at: when it was made, in seconds since the epoch.
    """
    if account.is_covered or by_label(account).accounts:
        with guard("estimating a call"):
            call = estimated(call, asked=None, output=None, response=None, at=at, host=None)
    return bill(account, call)


def _output(output: Output | None, response: Any) -> int:
    if output is not None:
        return output.tokens
    found = generated(response)
    return output_tokens(found.size, 1 if found.text else 0, found.more)
