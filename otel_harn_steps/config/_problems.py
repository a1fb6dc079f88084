"""A mistake in a configuration file, described so that you can act on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        file: the file's name.
        line: its line, from 1; None where the whole file is meant.
        key: the key as one would write it, `steps[0].budget.max_usd`; empty where the whole file is meant.
        value: what is written there, as TOML would; None where that says nothing.
        text: what is wrong with it, what is allowed, what was probably meant.
    """

    file: str
    line: int | None
    key: str
    value: str | None
    text: str

    def __str__(self) -> str:
        """`harn-steps.toml:7: steps[0].scope = "all": must be "step" or "tree"`."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = self.key if self.value is None else f"{self.key} = {self.value}"
        return ": ".join(part for part in (place, subject, self.text) if part)


class ConfigError(ValueError):
    """A configuration file cannot be used as it is. `problems` has each mistake; the message has them all."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
