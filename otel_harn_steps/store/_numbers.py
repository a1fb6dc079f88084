"""Numbers as people read them: the same in the terminal, on the page, and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from otel_harn_steps._cost.money import PICOUSD_PER_USD
from otel_harn_steps.store._spend import Spend

_PER_CENT: Final = PICOUSD_PER_USD // 100
_PER_TEN_THOUSANDTH: Final = PICOUSD_PER_USD // 10_000
_UNITS: Final = ((10**3, "k"), (10**6, "M"), (10**9, "G"), (10**12, "T"))
_S_PER_MINUTE: Final = 60
_S_PER_HOUR: Final = 3600


def dollars(picousd: int) -> str:
    """`$0.0123`, `$12.34`, `$1,234`; `<$0.0001` for less, and `$0` only for nothing at all."""
    if picousd == 0:
        return "$0"
    if picousd < _PER_TEN_THOUSANDTH:
        return "<$0.0001"
    small = _rounded(picousd, _PER_TEN_THOUSANDTH)
    if small < 10_000:
        return f"$0.{small:04}"
    cents = _rounded(picousd, _PER_CENT)
    if cents < 100_000:
        return f"${cents // 100}.{cents % 100:02}"
    return f"${_rounded(picousd, PICOUSD_PER_USD):,}"


def signed_dollars(picousd: int) -> str:
    """A change of dollars: `+$0.0123`, `-$12.34`, `$0` for none."""
    return f"{'-' if picousd < 0 else '+' if picousd else ''}{dollars(abs(picousd))}"


def cost_marks(spend: Spend) -> tuple[str, str]:
    """What was spent, and the marks behind it: `~` in front where a part is estimated, `?` behind where a call is of
    unknown cost, `…` where one is in flight. Where all are of unknown cost, there are the marks alone.
    """
    marks = ("?" if spend.unknown_calls else "") + ("…" if spend.open_calls else "")
    if not spend.calls or spend.unknown_calls == spend.calls:
        return marks, ""
    tilde = "~" if spend.estimated_cost_picousd else ""
    return tilde + dollars(spend.cost_picousd + spend.estimated_cost_picousd), marks


def cost(spend: Spend) -> str:
    """What was spent, with its marks: `$0.0123`, `~$0.0123`, `$0.0123?`, `?`, `…`; `-` where nothing was called."""
    return "".join(cost_marks(spend)) or "-"


def cost_remarks(spend: Spend) -> Iterator[str]:
    """What the marks at a cost mean: how much of it is estimated, and how many calls are of unknown cost."""
    if spend.estimated_cost_picousd:
        estimated = dollars(spend.estimated_cost_picousd)
        yield f"~ {estimated} of it is estimated, for {counted(spend.estimated_calls, 'call')}"
    if spend.unknown_calls:
        yield f"? {counted(spend.unknown_calls, 'call')} of unknown cost, which no number here holds"


def tokens(count: int) -> str:
    """For headlines: `840`, `1.2k`, `3.4M`, `12M`."""
    if count < 1_000:
        return str(count)
    unit, name = next(each for each in _UNITS if count < 999_500 * each[0] // 1_000 or each is _UNITS[-1])
    tenths = _rounded(count, unit // 10)
    return f"{tenths / 10:.1f}{name}" if tenths < 100 else f"{_rounded(count, unit):,}{name}"


def percent(part: int, whole: int) -> str:
    """A share: `41 %`, `6.1 %` below ten, `<0.1 %`; `-` of nothing."""
    if whole <= 0:
        return "-"
    thousandths = _rounded(part * 1_000, whole)
    if part and not thousandths:
        return "<0.1 %"
    if thousandths < 100 and thousandths % 10:
        return f"{thousandths // 10}.{thousandths % 10} %"
    return f"{_rounded(part * 100, whole)} %"


def duration(seconds: float) -> str:
    """`840 ms`, `3.2 s`, `42 s`, `4 min`, `1.5 h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 2 * _S_PER_MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _S_PER_HOUR:
        return f"{seconds / _S_PER_MINUTE:.0f} min"
    return f"{seconds / _S_PER_HOUR:.1f} h"


def counted(count: int, what: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def shown(text: str) -> str:
    """A name as it can be shown anywhere: what is not printable (an escape of a terminal, a newline) as its escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _rounded(amount: int, unit: int) -> int:
    return (amount + unit // 2) // unit
