"""What the tables of the configuration file are declared with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import ConfigDict
from pydantic_core import PydanticCustomError

TABLE: Final = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key may be set to, in words that complete "must be ..."."""

    text: str


def mistake(message: str, *key: str) -> PydanticCustomError:
    """An error in our own words. `key`: where in the table it is, if not at the table itself."""
    # The message goes through a format string.
    return PydanticCustomError("harn_steps", "{message}", {"message": message, "key": key})


def did_you_mean(suggestion: str | None) -> str:
    """The end of a message about what is probably meant. Empty for None."""
    return "" if suggestion is None else f'; did you mean "{suggestion}"?'


def meant_or_known(suggestion: str | None, known: Iterable[str]) -> str:
    """The end of a message about a key that is not known."""
    hint = did_you_mean(suggestion)
    return f"{hint} Known: {', '.join(known)}" if hint else f"; known: {', '.join(known)}"


def closest(word: object, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    spellings = {each.lower().replace("-", "_"): each for each in known}
    found = difflib.get_close_matches(str(word).lower().replace("-", "_"), spellings, n=1, cutoff=0.6)
    return spellings[found[0]] if found else None
