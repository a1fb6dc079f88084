"""What happens before a limit is reached: `at = {0.5: "notify", 0.8: "downgrade:gpt-5-nano", 0.9: "tell"}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, cast

Action = Literal["notify", "downgrade", "tell"]
_DOWNGRADE: Final = "downgrade:"
_ALLOWED: Final = '"notify", "downgrade:MODEL" or "tell"'


class Threshold(NamedTuple):
    """One of them.

    Attributes:
        share: of a limit, above 0 and below 1.
        action: what happens when so much of a limit is spent.
        model: what calls are downgraded to.
    """

    share: float
    action: Action
    model: str | None = None


def thresholds_of(at: object) -> tuple[Threshold, ...]:
    """The thresholds that a declaration gives, the lowest first.

    Raises:
        TypeError: it is not a mapping, or has values of the wrong type.
        ValueError: a share is not between 0 and 1, or an action is unknown.
    """
    if not isinstance(at, Mapping):
        raise TypeError(f"at must be a mapping of shares to actions such as {{0.8: 'notify'}}, not {at!r}")
    return tuple(sorted(_threshold(share, action) for share, action in at.items()))


def _threshold(share: object, action: object) -> Threshold:
    number = _number(share)
    if not 0 < number < 1:
        raise ValueError(f"at: a share of a limit must be between 0 and 1, as 0.8, not {share!r}")
    if not isinstance(action, str):
        raise TypeError(f"at[{share!r}] must be {_ALLOWED}, not {action!r}")
    model = action.removeprefix(_DOWNGRADE)
    if action in ("notify", "tell"):
        return Threshold(number, cast("Action", action))
    if model == action or not model:
        raise ValueError(f"at[{share!r}] must be {_ALLOWED}, not {action!r}")
    return Threshold(number, "downgrade", model)


def _number(share: object) -> float:
    # The keys of a table in TOML are text.
    if isinstance(share, bool) or not isinstance(share, (int, float, str)):
        raise TypeError(f"at: a share of a limit must be a number between 0 and 1, not {share!r}")
    try:
        return float(share)
    except ValueError:
        return math.nan
