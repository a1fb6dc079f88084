"""Moments as people write them: `7d`, `today`, `2026-11-26T14:30`."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Final

_UNITS_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TIMES: Final = (
    "a period such as 90m, 24h, 7d or 4w, today, yesterday, or a day or time such as 2026-11-26 or 2026-11-26T14:30"
)


def read_time(option: str, given: str, now_s: float | None = None) -> int:
    """A moment in nanoseconds since the epoch: a period before now, or a day or time of local time.

    Raises:
        ValueError: it is none.
    """
    now_s = time.time() if now_s is None else now_s
    period = re.fullmatch(r"(\d{1,6})([mhdw])", given)
    if period is not None:
        return int(now_s - int(period[1]) * _UNITS_S[period[2]]) * 10**9
    if given in ("today", "yesterday"):
        midnight = (
            datetime.fromtimestamp(now_s).astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        )
        return int((midnight - timedelta(days=given == "yesterday")).timestamp()) * 10**9
    try:
        return int(datetime.fromisoformat(given).timestamp()) * 10**9  # without a zone, it is local time
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{option} must be {_TIMES}, not {given!r}") from None
