"""What an answer says of its end, for the call's span: why it ended, and when its first part came. Never its text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from otel_harn_steps._calls.fields import Fields, field, fields_of, text_of
from otel_harn_steps._cost.values import value

_LONGEST: Final = 40  # of a word of a provider's. What is longer is none
# In each of several answers.
_OF_CHOICES: Final[tuple[str, ...]] = ("finish_reason",)  # of OpenAI's protocol, and of Mistral's
_OF_CANDIDATES: Final[tuple[str, ...]] = ("finish_reason", "finishReason")  # of Google's
# Where a reason stands: in a whole response, or in an event of a stream.
_ALONE: Final = (
    "stop_reason",  # Anthropic
    "stopReason",  # Bedrock
    "finish_reason",  # Cohere
    "done_reason",  # Ollama
)
_OF_EVENTS: Final = ("delta", "messageStop", "data", "response")
_ENDED: Final = "completed"  # as OpenAI's Responses API has it, which names a reason only where it was cut


@value
class Ending:
    """How the answer to a call came.

    Attributes:
        said: the response, or the last events of a stream.
        is_stream: whether it was read as a stream.
        first_chunk_ns: the nanoseconds from the request to the first event. None: there was none.
    """

    said: Iterable[Any] = ()
    is_stream: bool = False
    first_chunk_ns: int | None = None


UNSEEN: Final = Ending()
"""Of a call without an answer."""


def finish_reasons(said: Iterable[Any]) -> tuple[str, ...]:
    """Why an answer ended, in the provider's words; of several answers to one call, each in its order."""
    found: list[str] = []
    for each in said:
        fields = fields_of(each)
        found += _in(fields) or _in_event(fields)
    return tuple(found)


def _in_event(fields: Fields) -> list[str]:
    for name in _OF_EVENTS:
        inner = fields.get(name)
        found = [] if inner is None else _in(fields_of(inner))
        if found:
            return found
    return []


def _in(fields: Fields) -> list[str]:
    answers, names = fields.get("choices"), _OF_CHOICES
    if answers is None:
        answers, names = fields.get("candidates"), _OF_CANDIDATES
    if answers is None:
        return _alone_in(fields)
    found: list[str] = []
    for each in answers if isinstance(answers, list) else ():
        of_answer = fields_of(each)
        for name in names:
            word = _word(of_answer.get(name))
            if word is not None:
                found.append(word)
    return found


def _alone_in(fields: Fields) -> list[str]:
    for name in _ALONE:
        word = _word(fields.get(name))
        if word is not None:
            return [word]
    if fields.get("object") == "response":
        cut = _word(field(fields.get("incomplete_details"), "reason"))
        if cut is not None or fields.get("status") == _ENDED:
            return [cut or _ENDED]
    return []


def _word(found: Any) -> str | None:
    word = found if type(found) is str else text_of(found)
    return str(word) if word and len(word) <= _LONGEST and _is_word(word) else None


@lru_cache(maxsize=128)
def _is_word(text: str) -> bool:
    return text.replace("_", "").replace("-", "").isalnum()
