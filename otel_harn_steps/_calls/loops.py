"""Agents that go round in circles: the same request with the same answer, or a few that alternate."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from otel_harn_steps._calls.fingerprints import Fingerprint, digest_of

_LONGEST_PERIOD: Final = 4
# As many messages may stay at the end while a conversation grows before them: a reminder, a question.
_MOST_KEPT_LAST: Final = 4


class _Asked(NamedTuple):
    """One earlier call, in digests."""

    turn: bytes
    answer: bytes
    root: bytes
    whole: bytes
    length: int
    last: tuple[bytes, ...]
    up_to: tuple[bytes, ...]


class LoopWatch:
    """Finds what repeats in the calls of one run of a step.

    Two requests are the same if they say the same, or if each has grown out of one before it, by the same messages: an
    agent appends the model's answer and the results of tools. What polls until a result changes does not repeat, nor
    does one question about many documents.

    The first request of a conversation that grows is not one of those that repeat: nothing has been appended to it.

    Not synchronized: its owner's lock guards it.

    Args:
        repetitions: how often something is the same until it is a loop; at least 2.
    """

    __slots__ = ("_asked", "_repeated", "_repetitions")

    def __init__(self, repetitions: int) -> None:
        self._repetitions = repetitions
        self._asked: deque[_Asked] = deque(maxlen=_LONGEST_PERIOD)
        self._repeated = [0] * (_LONGEST_PERIOD + 1)
        """By period: how many calls in a row were the same as the one that many before."""

    def add(self, request: Fingerprint, answer: bytes) -> bool:
        """Add a call that was answered, in the order of the answers.

        Args:
            request: as `request_fingerprint` has it, before anything is changed in what the app asks.
            answer: as `answer_fingerprint` has it.

        Returns:
            Whether it ends a loop: the same call, or the same two to four calls, for the `repetitions`th time in a row.
        """
        turn, root = self._place_of(request)
        for period in range(1, _LONGEST_PERIOD + 1):
            earlier = self._asked[-period] if len(self._asked) >= period else None
            is_same = earlier is not None and (earlier.turn, earlier.answer) == (turn, answer)
            self._repeated[period] = self._repeated[period] + 1 if is_same else 0
        last, up_to = request.messages[-_MOST_KEPT_LAST:], request.up_to[-_MOST_KEPT_LAST - 1 :]
        self._asked.append(_Asked(turn, answer, root, request.whole, len(request.messages), last, up_to))
        return any(
            self._repeated[period] >= period * (self._repetitions - 1) for period in range(1, _LONGEST_PERIOD + 1)
        )

    def _place_of(self, request: Fingerprint) -> tuple[bytes, bytes]:
        """What a request asks anew, and where its conversation began."""
        longest, place = 0, (request.whole, request.whole)
        for earlier in reversed(self._asked):
            if earlier.whole == request.whole:
                return earlier.turn, earlier.root
            if earlier.length > longest:
                appended = _appended(earlier, request)
                if appended:
                    longest, place = earlier.length, (digest_of(earlier.root, *appended), earlier.root)
        return place


def _appended(earlier: _Asked, request: Fingerprint) -> tuple[bytes, ...]:
    """The messages that a request has more than an earlier one of the same conversation. None: it is another one."""
    length = len(request.messages)
    if length > earlier.length:
        for kept in range(min(len(earlier.up_to), len(earlier.last) + 1)):
            begin, end = earlier.length - kept, length - kept
            is_same = request.up_to[begin - 1] == earlier.up_to[-1 - kept]
            if is_same and request.messages[end:] == earlier.last[len(earlier.last) - kept :]:
                return request.messages[begin:end]
    return ()
