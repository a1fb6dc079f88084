"""What a call may spend, held for it from before it is sent until it is known what it has spent."""

from __future__ import annotations

from enum import IntEnum
from sys import is_finalizing
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_harn_steps import _process
from otel_harn_steps._guard.finalisers import from_a_finaliser
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps._steps.totals import NO_USAGE, ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_harn_steps._steps.shared_spending import SharedSpending


class Projection(NamedTuple):
    """What a call may spend at most.

    Attributes:
        input_tokens: estimated, and raised to what such requests were measured at.
        output_tokens: what the call allows, else what is to be expected of it, else what the model allows.
        picousd: what all of it costs. Pico-dollars, as the next two.
        input_picousd: what the input costs.
        token_picousd: what an output token costs.
        cap: the call's own maximum of output tokens. None: it sets none.
        is_firm: whether more is known of `output_tokens` than what the model allows.
        estimated_input: what the request alone was estimated at.
        unpriced_model: the model, where its price is unknown and no budget of dollars is to let that pass.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    picousd: int = 0
    input_picousd: int = 0
    token_picousd: int = 0
    cap: int | None = None
    is_firm: bool = True
    estimated_input: int = 0
    unpriced_model: str | None = None

    @classmethod
    def of(cls, call: ModelCall) -> Projection:
        """What a budget counts of a call that is known. An estimate is not told apart: it counts as output."""
        usage = NO_USAGE if call.usage is None else call.usage
        output_tokens = (usage.output_tokens or 0) + call.estimated_tokens
        return cls(usage.input_tokens or 0, output_tokens, call.budget_picousd)

    def without(self, counted: Projection) -> Projection:
        """What is left of it when some of it is counted."""
        return self._replace(
            input_tokens=max(0, self.input_tokens - counted.input_tokens),
            output_tokens=max(0, self.output_tokens - counted.output_tokens),
            picousd=max(0, self.picousd - counted.picousd),
        )

    def with_output(self, tokens: int) -> Projection:
        """The same call with as many output tokens."""
        return self._replace(output_tokens=tokens, picousd=self.input_picousd + tokens * self.token_picousd)


NOTHING_PROJECTED: Final = Projection()


class Reservation:
    """The room that a call holds. Accounts know it for as long as the call does: one that is dropped holds nothing.

    Attributes:
        asked: what the call may spend.
        arrived: the output tokens that a stream has brought. None: it is none, or is not counted.
        counted: what of that the totals hold already: a stream is billed with what is known when its step ends.
        takes_all: whether it holds all that there is: what it may spend is more than that.
        output_cap: what the call's own maximum of output tokens is to be lowered to. None: not at all.
        forks: the forks up to the process that it was made in. What is forked from it holds nothing.
        shared, lease: who holds it for all processes of a run, and what it is known by there. None: nobody.
    """

    __slots__ = ("__weakref__", "arrived", "asked", "counted", "forks", "lease", "output_cap", "shared", "takes_all")

    def __init__(self, asked: Projection, *, takes_all: bool = False, output_cap: int | None = None) -> None:
        self.asked = asked
        self.arrived: int | None = None
        self.counted = NOTHING_PROJECTED
        self.takes_all = takes_all
        self.output_cap = output_cap
        self.forks = _process.forks
        self.lease: int | None = None
        self.shared: SharedSpending | None = None

    def __del__(self) -> None:
        if self.lease is not None and self.shared is not None and self.forks == _process.forks and not is_finalizing():
            from_a_finaliser(self.shared.release, self.lease)

    @property
    def left(self) -> Projection:
        """What it holds."""
        return self.asked if self.counted is NOTHING_PROJECTED else self.asked.without(self.counted)

    @property
    def has_come(self) -> Projection:
        """What it is known to spend: of a stream, what has arrived."""
        asked = self.asked if self.arrived is None else self.asked.with_output(self.arrived)
        return asked.without(self.counted)


class Held(NamedTuple):
    """What the calls in flight hold of a budget.

    Attributes:
        in_flight: how many they are.
        calls: those of them that the totals do not hold yet.
        takes_all: whether one of them holds all that there is.
    """

    in_flight: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    picousd: int = 0
    takes_all: bool = False


NOTHING_HELD: Final = Held()


class Waits(IntEnum):
    """What the caller of a call that is not let in can wait for."""

    FOR_NOTHING = 0
    FOR_A_DECISION = 1
    FOR_ROOM = 2
    """For a decision too."""


class RoomMayComeError(Exception):
    """There is no room for a call for as long as others are in flight, or until somebody decides: it is to wait.

    Attributes:
        refusal: what is raised if no room comes.
        seconds: how long to wait for others at most.
        when_changed: calls what it is given when a call has ended; returns what takes that back.
        is_paused: whether somebody is to decide.
    """

    def __init__(
        self,
        refusal: StepBudgetExceeded,
        seconds: float,
        when_changed: Callable[[Callable[[], None]], Callable[[], None]],
        *,
        is_paused: bool = False,
    ) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.seconds = seconds
        self.when_changed = when_changed
        self.is_paused = is_paused
