"""What the calls of a step were measured at: so many output tokens are to be expected of one that sets no maximum."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

_MOST_KEPT: Final = 64
_MOST_STEPS: Final = 1_000  # names may be made at run time
_SHARE: Final = 0.95
_outputs: dict[tuple[str, str | None], deque[int]] = {}


def note_output(step: str, model: str | None, tokens: int) -> None:
    """A call of the step was measured at as many output tokens. The last 64 of each model are kept."""
    known = _outputs.get((step, model))
    if known is None:
        if len(_outputs) >= _MOST_STEPS:
            _outputs.clear()
        known = _outputs[step, model] = deque(maxlen=_MOST_KEPT)
    known.append(tokens)


def expected_output(step: str, model: str | None) -> int | None:
    """What 95 of 100 such calls stay within. None: there was none."""
    known = _outputs.get((step, model))
    if not known:
        return None
    ordered = sorted(known)
    return ordered[ceil(len(ordered) * _SHARE) - 1]


def forget_outputs() -> None:
    """Begin anew (tests)."""
    _outputs.clear()
