"""Money inside the package: integer pico-dollars. Floats are made on the way out, once.

A float sum of a few calls misses a limit that it reaches exactly in about a quarter of all cases; an integer sum
never does. Nearly every list price is a whole number of pico-dollars per token.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

PICOUSD_PER_USD = 10**12

_SCALE = Decimal(PICOUSD_PER_USD)
_UNIT = Decimal(1)


def to_picousd(usd: object) -> int | None:
    """US dollars as pico-dollars, half-even. None for what is no amount: NaN, infinite, negative, or not a number."""
    if isinstance(usd, bool) or not isinstance(usd, (int, float, Decimal)):
        return None
    # Through `str`, because a float stands for the decimal that it prints as: 0.1 is a tenth here.
    amount = Decimal(str(usd))
    if not amount.is_finite() or amount < 0:
        return None
    try:
        return int((amount * _SCALE).quantize(_UNIT, rounding=ROUND_HALF_EVEN))
    except InvalidOperation:  # more digits than the decimal context holds
        from fractions import Fraction  # noqa: PLC0415 -- only for a sum that nobody has

        return round(Fraction(amount) * PICOUSD_PER_USD)


def to_usd(picousd: int) -> float:
    """Pico-dollars as the nearest float of US dollars."""
    return picousd / PICOUSD_PER_USD
