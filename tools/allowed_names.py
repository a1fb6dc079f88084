"""The names that may leave through redaction.yaml and honeycomb.yaml: ours, and those of tools/allow_list.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.record import CompletedStep

NUMBER_KINDS = ("int", "double", "boolean")


@dataclass(frozen=True)
class AllowedNames:
    """The names that pass, by what may stand under them, as regular expressions without anchors."""

    given: dict[str, Any]

    @cached_property
    def numbers(self) -> list[str]:
        """Names of numbers, and of what is true or false."""
        ours = [each.name for each in names.ATTRIBUTES if each.kind in NUMBER_KINDS]
        return _without_repeats([*map(re.escape, ours), *map(_in_events, self._fields(True)), *self.given["numbers"]])

    @cached_property
    def words(self) -> list[str]:
        """Names of what is one word."""
        ours = [each for each in self._our_texts() if each not in self.given["our_names"]]
        ours.append(names.CERTAINTY)  # of metrics
        fields_ = [each for each in self._fields(False) if f"harn.step.{each}" not in self.given["our_names"]]
        return _without_repeats(
            [*map(re.escape, ours), *map(_in_events, fields_), *self.given["words"], *self.given["resource_words"]]
        )

    @cached_property
    def names(self) -> list[str]:
        """Names of what is a name in the app's code: up to four words."""
        ours = [re.escape(each) for each in self.given["our_names"]]
        fields_ = [re.escape(each) for each in self._fields(False) if f"harn.step.{each}" in self.given["our_names"]]
        return _without_repeats([*ours, *fields_, *self.given["names"], *self.given["resource_names"]])

    @cached_property
    def of_resources(self) -> list[str]:
        """What a resource may have."""
        return [*self.given["resource_words"], *self.given["resource_names"], r"tenant\.id", r"process\.pid"]

    @cached_property
    def of_spans(self) -> list[str]:
        """What a span, its events, a data point and a log that is not ours may have."""
        bare = {re.escape(each) for flag in (True, False) for each in self._fields(flag)}
        bare |= {_in_events(each) for flag in (True, False) for each in self._fields(flag)}
        everything = [*self.numbers, *self.words, *self.names]
        resources = {*self.given["resource_words"], *self.given["resource_names"]}
        return [each for each in everything if each not in bare | resources]

    @cached_property
    def of_our_logs(self) -> list[str]:
        """What an event of ours may have: every field of a record but free text, bare or behind `harn.step.`."""
        return [*(_in_events(each) for flag in (True, False) for each in self._fields(flag)), r"event\.name"]

    def _our_texts(self) -> Iterator[str]:
        for each in names.ATTRIBUTES:
            if each.kind not in NUMBER_KINDS and each.name not in self.given["our_texts"]:
                yield each.name

    def _fields(self, are_numbers: bool) -> Iterator[str]:
        """The fields of our events: of a record, and of a budget's threshold."""
        for each in fields(CompletedStep):
            is_number = bool(re.match("int|float", str(each.type))) and not each.name.endswith("_time")
            if is_number == are_numbers and f"harn.step.{each.name}" not in self.given["our_texts"]:
                yield each.name
        yield from ("share", "tokens") if are_numbers else ("budget_of", "action")


def _in_events(field: str) -> str:
    """A field of a record as an attribute of an event: bare, or behind our prefix."""
    return rf"(harn\.step\.)?{re.escape(field)}"


def _without_repeats(patterns: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(patterns))
