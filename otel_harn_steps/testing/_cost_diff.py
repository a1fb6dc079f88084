"""What has changed between two cost snapshots, in sentences: more calls, longer input, another model, another price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.store._numbers import counted, dollars, shown
from otel_harn_steps.testing._cost_entry import NOT_BILLED, Entry, exact_usd

_COSTS: Final = ("cost_usd", "estimated_cost_usd")
_WORDS: Final = {
    "input_tokens": ("input", " tokens"),
    "cache_read_tokens": ("cached input", " tokens"),
    "cache_write_tokens": ("input written to the cache", " tokens"),
    "output_tokens": ("output", " tokens"),
    "reasoning_tokens": ("reasoning", " tokens"),
    "unpriced_calls": ("calls without a price", ""),
    "unmetered_calls": ("calls without usage", ""),
    "estimated_tokens": ("estimated", " tokens"),
}


def differences(before: Entry, now: Entry) -> list[str]:
    """What is different, step by step. Empty: nothing is. Another version of the price book alone is no difference."""
    old, new = before["steps"], now["steps"]
    books = before.get("price_book"), now.get("price_book")
    changed = {path: list(_of_path(old.get(path), new.get(path), books)) for path in sorted({*old, *new})}
    lines = [f"{shown(path)}: {each}" for path, said in changed.items() for each in said]
    if sum(map(bool, changed.values())) > 1 and _cost(old) != _cost(new):
        lines.append(f"in all: {_costs(_cost(old), _cost(new))}")
    return lines


def _of_path(old: Entry | None, new: Entry | None, books: tuple[Any, Any]) -> Iterator[str]:
    if old is not None and new is not None:
        yield from _of_step(old, new, books)
    elif new is not None:
        yield f"a new step: {_summary(new)}"
    elif old is not None:
        yield f"does not run any more; it was {_summary(old)}"


def _of_step(old: Entry, new: Entry, books: tuple[Any, Any]) -> Iterator[str]:
    usage = [*_of_runs(old, new), *_of_models(old["models"], new["models"])]
    costs = _cost({"": old}), _cost({"": new})
    if usage and costs[0] != costs[1]:
        usage.append(_costs(*costs))
    elif costs[0] != costs[1]:
        book = "other prices" if books[0] == books[1] else f"new price book {_books(*books)}"
        yield f"same usage, {book}: {_costs(*costs)}"
    yield from usage


def _of_runs(old: Entry, new: Entry) -> Iterator[str]:
    before, now = (sum(each["runs"].values()) for each in (old, new))
    if before != now:
        yield _more(before, now, "run")
    elif old["runs"] != new["runs"]:
        yield f"runs {_statuses(old['runs'])} -> {_statuses(new['runs'])}"
    for outcome in NOT_BILLED:
        if old.get(outcome, 0) != new.get(outcome, 0):
            yield f"{outcome} calls {old.get(outcome, 0):,} -> {new.get(outcome, 0):,}"


def _of_models(old: Entry, new: Entry) -> Iterator[str]:
    gone, came = [each for each in old if each not in new], [each for each in new if each not in old]
    if len(gone) == len(came) == 1:
        yield f"model {_renamed(gone[0], came[0])}"
        new = {gone[0] if name == came[0] else name: numbers for name, numbers in new.items()}
    elif gone or came:
        yield from (f"model {shown(name)} is new: {_summary({'models': {name: new[name]}})}" for name in came)
        yield from (f"model {shown(name)} is not called any more" for name in gone)
    for name in old:
        if name in new:
            of = f" of {shown(name)}" if len(old) > 1 else ""
            yield from _of_numbers(old[name], new[name], of)


def _of_numbers(old: Mapping[str, Any], new: Mapping[str, Any], of: str) -> Iterator[str]:
    if old["calls"] != new["calls"]:
        yield _more(old["calls"], new["calls"], "call", of)
    for name in dict.fromkeys((*_WORDS, *sorted({*old, *new}))):
        before, now = old.get(name) or 0, new.get(name) or 0
        if name not in (*_COSTS, "calls") and before != now:
            word, unit = _WORDS.get(name, (name.replace("_", " "), ""))
            yield f"{word}{of} {before:,} -> {now:,}{unit}"


def _more(before: int, now: int, what: str, of: str = "") -> str:
    direction = "more" if now > before else "fewer"
    changed = abs(now - before)
    return f"{changed:,} {direction} {what}{'' if changed == 1 else 's'}{of} ({before:,} -> {now:,})"


def _renamed(before: str, now: str) -> str:
    (provider, _, model), (new_provider, _, new_model) = before.partition(" "), now.partition(" ")
    if provider == new_provider:
        before, now = model, new_model
    return f"{shown(before)} -> {shown(now)}"


def _statuses(runs: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in runs.items()) or "none"


def _books(before: str | None, now: str | None) -> str:
    name = (before or "").rpartition(" ")[0]
    if name and now is not None and now.rpartition(" ")[0] == name:
        return f"{before} -> {now.rpartition(' ')[2]}"
    return f"{before or 'none'} -> {now or 'none'}"


def _summary(step: Entry) -> str:
    calls = sum(numbers["calls"] for numbers in step["models"].values())
    known, estimated = _cost({"": step})
    return f"{counted(calls, 'call')}, {_text(known, estimated, dollars(known or 0))}"


_Cost = tuple[int | None, int]
"""Pico-dollars: what is known (None: nothing is, of calls that were made), and what is estimated."""


def _cost(steps: Mapping[str, Entry]) -> _Cost:
    models = [numbers for step in steps.values() for numbers in step["models"].values()]
    known = [to_picousd(Decimal(each["cost_usd"])) for each in models if each["cost_usd"] is not None]
    estimated = [to_picousd(Decimal(each.get("estimated_cost_usd", "0"))) for each in models]
    return (sum(filter(None, known)) if known or not models else None), sum(filter(None, estimated))


def _costs(before: _Cost, now: _Cost) -> str:
    texts = [_text(*each, dollars(each[0] or 0)) for each in (before, now)]
    if texts[0] == texts[1]:  # they differ by less than is shown
        texts = [_text(*each, f"${exact_usd(each[0] or 0)}") for each in (before, now)]
    return " -> ".join(texts)


def _text(known: int | None, estimated: int, text: str) -> str:
    if estimated:
        return f"{'?' if known is None else text} and ~{dollars(estimated)} estimated"
    return "? (no price)" if known is None else text
