"""Money inside the package: integer pico-dollars. Floats are made on the way out, once.

A float sum of a few calls misses a limit that it reaches exactly in about a quarter of all cases; an integer sum
never does. Nearly every list price is a whole number of pico-dollars per token.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

PICOUSD_PER_USD = 10**12

_PICOUSD_DIGITS: Final = 12
_PICOUSD: Final = Decimal("1E-12")
# No call costs more, and the sum of amounts without a bound would outgrow a float.
_MOST_USD: Final = Decimal("1E300")
# The app's own context may have any precision, and may raise for a rounded number. This one has enough for the most.
_CONTEXT: Final = Context(320, ROUND_HALF_EVEN, -999_999, 999_999, 1, 0, [], [])


def to_picousd(usd: object) -> int | None:
    """US dollars as pico-dollars, half-even. None for what is no amount: NaN, infinite, negative, or not a number.

    What no call can cost is none either.
    """
    if isinstance(usd, bool) or not isinstance(usd, (int, float, Decimal)):
        return None
    # Through `str`, because a float stands for the decimal that it prints as: 0.1 is a tenth here.
    amount = Decimal(str(usd)) if isinstance(usd, float) else Decimal(usd)
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        return None
    return int(amount.quantize(_PICOUSD, context=_CONTEXT).scaleb(_PICOUSD_DIGITS, _CONTEXT))


def to_usd(picousd: int) -> float:
    """Pico-dollars as the nearest float of US dollars."""
    return picousd / PICOUSD_PER_USD


def to_exact_usd(picousd: int) -> Decimal:
    """Pico-dollars as US dollars, without trailing zeros. Exact in whatever decimal context the app has set."""
    digits, exponent = picousd, -_PICOUSD_DIGITS
    while exponent < 0 and digits % 10 == 0:
        digits, exponent = digits // 10, exponent + 1
    return Decimal(f"{digits}E{exponent}")
