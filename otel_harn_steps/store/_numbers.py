"""Numbers as people read them: the same in the terminal, on the page, and in a notebook."""

from __future__ import annotations

from typing import Final

from otel_harn_steps._cost.money import PICOUSD_PER_USD

_PER_CENT: Final = PICOUSD_PER_USD // 100
_PER_TEN_THOUSANDTH: Final = PICOUSD_PER_USD // 10_000
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
