"""`otel-harn-steps watch`: tells when more is spent in a sliding window than may be."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_harn_steps._cost.money import to_exact_usd, to_picousd
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import open_store, read_filter
from otel_harn_steps.cli._text_table import label
from otel_harn_steps.store._numbers import counted, dollars, duration, shown
from otel_harn_steps.store._window import Window, window_of

if TYPE_CHECKING:
    from otel_harn_steps.store import Filter, Store

_USAGE_ERROR: Final = 2
_NS_PER_S: Final = 10**9
_S_PER_HOUR: Final = 3600
_UNITS_S: Final = {"s": 1, "m": 60, "h": _S_PER_HOUR, "d": 24 * _S_PER_HOUR}
_PERIOD: Final = re.compile(r"(\d{1,5})([smhd])")
_PREFIX: Final = "OTEL_HARN_STEPS_WATCH_"


def watch(arguments: argparse.Namespace) -> int:
    """Look at what is spent. Returns 1 when it is too much; with a command and without `--once`, only at Ctrl-C."""
    try:
        terms = _read_terms(arguments)
        chosen = read_filter(arguments)
    except ValueError as error:
        complain(str(error))
        return _USAGE_ERROR
    with open_store(arguments) as store:
        try:
            return _Watch(terms, chosen, store, has_json=arguments.json).run(once=arguments.once)
        except KeyboardInterrupt:
            return 0
        except (OSError, ValueError) as error:  # the command is not there, the records are of a newer version
            complain(str(error))
            return _USAGE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What is watched: dollars in a window, how often, and the command."""

    limit_picousd: int
    window_s: int
    interval_s: float
    command: tuple[str, ...]


def _read_terms(arguments: argparse.Namespace) -> _Terms:
    usd = _number("--max-usd-per-hour", arguments.max_usd_per_hour, "a number of US dollars, 0 or more, such as 2")
    interval = _number("--interval", arguments.interval, "a number of seconds above 0")
    period = _PERIOD.fullmatch(arguments.window)
    window_s = 0 if period is None else int(period[1]) * _UNITS_S[period[2]]
    if not window_s:
        raise ValueError(f"--window must be a period such as 10m, 1h or 1d, not {arguments.window!r}")
    if not interval:
        raise ValueError(f"--interval must be a number of seconds above 0, not {arguments.interval!r}")
    try:
        command = tuple(shlex.split(arguments.command_line or ""))
    except ValueError as error:
        raise ValueError(f"--exec {arguments.command_line!r}: {error}") from None
    if arguments.command_line is not None and not command:
        raise ValueError("--exec must be a command")
    limit = (to_picousd(usd) or 0) * window_s // _S_PER_HOUR
    return _Terms(limit_picousd=limit, window_s=window_s, interval_s=interval, command=command)


def _number(option: str, given: str, what: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{option} must be {what}, not {given!r}")
    return number


class _Watch:
    """Looks, and runs the command once for each time that the limit is crossed."""

    def __init__(self, terms: _Terms, chosen: Filter, store: Store, *, has_json: bool) -> None:
        self._terms = terms
        self._chosen = chosen
        self._store = store
        self._has_json = has_json

    def run(self, *, once: bool) -> int:
        """Look, again and again unless `once`. Returns 1 if it is too much."""
        if once:
            window = self.look()
            self._say(window)
            # With cron, each look is a process of its own: what the last one saw is in a file.
            memory = _Memory(self._store.folder, self._terms, self._chosen) if self._terms.command else None
            if memory is not None and memory.is_new(is_over=window.is_over):
                try:
                    self._execute(window)
                except OSError:
                    memory.forget()  # it could not be started: the next look tries again
                    raise
            return 1 if window.is_over else 0
        was_over = False
        while True:
            window = self.look()
            if self._has_json or (window.is_over and not was_over):
                self._say(window)
            if window.is_over and not was_over:
                if not self._terms.command:
                    return 1
                self._execute(window)
            was_over = window.is_over
            time.sleep(self._terms.interval_s)
            self._store.update()

    def look(self) -> Window:
        """What is spent in the window that ends now."""
        until = time.time_ns()
        since = until - self._terms.window_s * _NS_PER_S
        return window_of(self._store.calls(replace(self._chosen, since=since)), since, until, self._terms.limit_picousd)

    def _say(self, window: Window) -> None:
        if self._has_json:
            from otel_harn_steps.store import to_json  # noqa: PLC0415 -- only what the command needs

            print(json.dumps({"is_over": window.is_over, **to_json(window)}), flush=True)
            return
        print(self._sentence(window), flush=True)

    def _sentence(self, window: Window) -> str:
        spent = f"{dollars(window.spent_picousd)} of {dollars(window.limit_picousd)}"
        where = f"{'over' if window.is_over else 'within'} the limit"
        parts = [f"{where}: {spent} in {duration(self._terms.window_s)}, {counted(window.calls, 'call')}"]
        if window.steps:
            parts.append(f"most in {label(window.steps[0][0])} ({dollars(window.steps[0][1])})")
        if window.estimated_picousd:
            parts.append(f"~ {dollars(window.estimated_picousd)} of it is estimated")
        if window.unknown_calls:
            parts.append(f"? {counted(window.unknown_calls, 'call')} of unknown cost, which no number here holds")
        if window.open_calls:
            parts.append(f"… {counted(window.open_calls, 'call')} in flight")
        return "; ".join(parts)

    def _execute(self, window: Window) -> None:
        # No shell: names that come from the ledger are in the environment, and are nobody's code.
        done = subprocess.run(self._terms.command, env={**os.environ, **self._facts(window)}, check=False)  # noqa: S603 -- the user's own command
        if done.returncode:
            complain(f"--exec {self._terms.command[0]} has ended with {done.returncode}")

    def _facts(self, window: Window) -> Mapping[str, str]:
        step, spent = window.steps[0] if window.steps else ("", 0)
        facts = {
            "SPENT_USD": _usd(window.spent_picousd),
            "LIMIT_USD": _usd(window.limit_picousd),
            "ESTIMATED_USD": _usd(window.estimated_picousd),
            "WINDOW_SECONDS": str(self._terms.window_s),
            "CALLS": str(window.calls),
            "UNKNOWN_CALLS": str(window.unknown_calls),
            "TOP_STEP": shown(step),
            "TOP_STEP_USD": _usd(spent),
            "MESSAGE": self._sentence(window),
        }
        return {_PREFIX + name: value.encode(errors="replace").decode() for name, value in facts.items()}


def _usd(picousd: int) -> str:
    return f"{to_exact_usd(picousd):f}"


class _Memory:
    """Whether the last look of the same watch has found too much: a file next to the records."""

    def __init__(self, folder: Path, terms: _Terms, chosen: Filter) -> None:
        digest = hashlib.sha256(
            repr((terms.limit_picousd, terms.window_s, terms.command, chosen)).encode(errors="replace")
        )
        self._path = folder / f"watch-{digest.hexdigest()[:16]}.over"

    def is_new(self, *, is_over: bool) -> bool:
        """Whether the limit is crossed now and was not at the last look."""
        if not is_over:
            self.forget()
            return False
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True

    def forget(self) -> None:
        """Take the next crossing for a new one."""
        self._path.unlink(missing_ok=True)
