"""A difference in words: what got more expensive, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

from otel_harn_steps.store._diff import PARTS, Diff, DiffRow, DiffSide, Part
from otel_harn_steps.store._numbers import counted, percent, shown, signed_dollars

_WORTH_A_WORD: Final = Fraction(1, 20)
"""A part is named from this share of the largest part."""
_MOST_REASONS: Final = 4
_LONGEST_NAME: Final = 60
_TIMES_FROM: Final = Fraction(3, 2)


def sentence(row: DiffRow, diff: Diff) -> str:
    """Say what has changed: "`plan` +$0.4100: 3 more calls, input 2.1x longer"."""
    reasons = ", ".join(reasons_of(row, diff)) or "no change"
    return f"`{short(row.key)}` {signed_dollars(row.change_picousd)}: {reasons}"


def reasons_of(row: DiffRow, diff: Diff) -> list[str]:
    """Why the cost has changed, the largest part first."""
    if not row.base.calls:
        return [f"new, {counted(row.head.calls, 'call')}"]
    if not row.head.calls:
        return [f"gone, with {counted(row.base.calls, 'call')}"]
    largest = max(map(abs, row.parts.values()), default=0)
    named = [part for part in PARTS if row.parts[part] and abs(row.parts[part]) >= _WORTH_A_WORD * largest]
    named.sort(key=lambda part: -abs(row.parts[part]))
    return [_reason(part, row, diff) for part in named[:_MOST_REASONS]]


def notes_of(diff: Diff) -> Iterator[str]:
    """What must be known about the numbers."""
    if diff.is_by_run:
        yield (
            f"changes are of one run: {diff.base_name} has {counted(diff.base_runs, 'run')}, "
            f"{diff.head_name} has {counted(diff.head_runs, 'run')}"
        )
    for name, side in ((diff.base_name, diff.total.base), (diff.head_name, diff.total.head)):
        if side.unknown_calls:
            yield f"? {name}: {counted(side.unknown_calls, 'call')} of unknown cost, which no number here holds"
        if side.estimated_picousd:
            yield f"~ {name}: {signed_dollars(side.estimated_picousd)[1:]} of it is estimated"


def short(text: str) -> str:
    """A name as it can stand in a sentence: safe, and cut with an ellipsis."""
    safe = shown(text)
    return safe if len(safe) <= _LONGEST_NAME else f"{safe[: _LONGEST_NAME - 1]}…"


def _reason(part: Part, row: DiffRow, diff: Diff) -> str:
    return _calls(row, diff) if part == "calls" else _REASONS[part](row)


def _calls(row: DiffRow, diff: Diff) -> str:
    base, head = (
        Fraction(side.calls, runs if diff.is_by_run else 1)
        for side, runs in ((row.base, diff.base_runs), (row.head, diff.head_runs))
    )
    more = abs(head - base)
    which = "more" if head > base else "fewer"
    if more.denominator == 1:
        return f"{int(more):,} {which} call{'' if more == 1 else 's'}" + (" a run" if diff.is_by_run else "")
    return f"{float(more):.2g} {which} calls a run"


def _longer(what: str, tokens: Callable[[DiffSide], int]) -> Callable[[DiffRow], str]:
    def reason(row: DiffRow) -> str:
        base, head = (
            Fraction(tokens(side), side.metered_calls) if side.metered_calls else Fraction(0)
            for side in (row.base, row.head)
        )
        if not base:
            return f"{what} where there was none"
        ratio = head / base
        if ratio >= _TIMES_FROM:
            return f"{what} {float(ratio):.1f}x longer"
        # Several models may each have longer calls, and all together shorter ones.
        is_longer = row.parts["input" if what == "input" else "output"] > 0
        if is_longer != (ratio > 1):
            return f"{what} {'longer' if is_longer else 'shorter'} for some models"
        return f"{what} {_percent(abs(ratio - 1))} {'longer' if is_longer else 'shorter'}"

    return reason


def _cache(row: DiffRow) -> str:
    shares = [
        Fraction(side.cache_read_tokens, side.input_tokens) if side.input_tokens else Fraction(0)
        for side in (row.base, row.head)
    ]
    if shares[0] == shares[1]:
        return "more written to caches" if row.parts["cache"] > 0 else "less written to caches"
    which = "more" if shares[1] > shares[0] else "less"
    return f"{which} cache ({_percent(shares[0])} to {_percent(shares[1])} of the input)"


def _model(row: DiffRow) -> str:
    before, after = (next(iter(side.models)) for side in (row.base, row.head))
    if before != after:
        return f"another model ({short(before)} to {short(after)})"
    base, head = (Fraction(side.models[before], side.calls) for side in (row.base, row.head))
    return f"other models ({short(before)}: {_percent(base)} to {_percent(head)} of the calls)"


def _prices(row: DiffRow) -> str:
    base, head = (", ".join(side.price_books) for side in (row.base, row.head))
    if base != head:
        return f"another price book ({short(base)} to {short(head)})"
    return "other rates (long requests, or a change of prices)"


def _fees(row: DiffRow) -> str:
    return f"{'more' if row.parts['fees'] > 0 else 'fewer'} searches and other fees"


def _unknown(row: DiffRow) -> str:
    shares = [Fraction(side.unknown_calls, side.calls) for side in (row.base, row.head)]
    if shares[0] == shares[1]:
        return "calls whose rates are not known"
    which = "more" if shares[1] > shares[0] else "fewer"
    return f"{which} calls of unknown cost ({row.base.unknown_calls:,} to {row.head.unknown_calls:,})"


_REASONS: Final[dict[Part, Callable[[DiffRow], str]]] = {
    "input": _longer("input", lambda side: side.input_tokens),
    "output": _longer("output", lambda side: side.output_tokens),
    "cache": _cache,
    "model": _model,
    "terms": lambda _: "other terms (service tier, batch, region)",
    "prices": _prices,
    "fees": _fees,
    "unknown": _unknown,
}


def _percent(share: Fraction) -> str:
    return percent(share.numerator, share.denominator)
