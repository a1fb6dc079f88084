"""`otel-harn-steps diff`: which step has become more expensive, and why."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._price_files import read_prices
from otel_harn_steps.cli._reading_options import open_store, read_filter, read_time
from otel_harn_steps.store._billed import Billed, billed_calls, read_billed
from otel_harn_steps.store._diff import Diff
from otel_harn_steps.store._diff import diff as compare
from otel_harn_steps.store._repricing import NO_PRICES

if TYPE_CHECKING:
    from otel_harn_steps.store import Filter, RunRow, Store

_USAGE_ERROR: Final = 2
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}|today|yesterday")
_BEFORE_THE_LAST: Final = re.compile(r"last~(\d{1,3})")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DOLLARS: Final = re.compile(r"\$?(\d+(?:\.\d+)?)")


def diff(arguments: argparse.Namespace) -> int:
    """Print the comparison. Returns 1 where the cost has grown by more than was allowed."""
    try:
        allowed = None if arguments.fail_above is None else _allowed(arguments.fail_above)
        own = read_prices(arguments.prices) if arguments.prices else NO_PRICES
        sides = _Sides(arguments, read_filter(arguments))
        base, head = sides.read(arguments.base), sides.read(arguments.head)
    except ModuleNotFoundError as error:
        complain(f"a configuration file needs {error.name}: pip install 'otel-harn-steps[cli]'")
        return _USAGE_ERROR
    except (LookupError, OSError, ValueError) as error:
        complain(str(error.args[0]) if isinstance(error, LookupError) else str(error))
        return _USAGE_ERROR
    found = compare(base.billed, head.billed, names=(base.name, head.name), by=arguments.by, own=own)
    _print(found, arguments)
    if allowed is None or not allowed.is_exceeded_by(found):
        return 0
    from otel_harn_steps.cli._diff_text import growth  # noqa: PLC0415 -- only what the command needs

    complain(f"the cost has grown by {growth(found)}, more than {arguments.fail_above}")
    return 1


def _print(found: Diff, arguments: argparse.Namespace) -> None:
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- as above
        from otel_harn_steps.store._diff_words import notes_of, reasons_of  # noqa: PLC0415 -- as above

        values = to_json(found) | {"change_share": found.change_share, "notes": list(notes_of(found))}
        for row, each in zip(found.rows, values["rows"], strict=True):
            each["reasons"] = reasons_of(row, found)
        print(json.dumps(values, indent=2))
    elif arguments.markdown:
        from otel_harn_steps.cli._diff_markdown import markdown  # noqa: PLC0415 -- as above

        print(markdown(found, has_all=arguments.all), end="")
    else:
        from otel_harn_steps.cli._diff_text import diff_lines  # noqa: PLC0415 -- as above
        from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above

        print_lines(diff_lines(found, terminal_width(), has_all=arguments.all), arguments.color)


# -- sides -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    billed: Iterable[Billed]


class _Sides:
    """Finds the two sides, in files or in the store."""

    def __init__(self, arguments: argparse.Namespace, chosen: Filter) -> None:
        self._arguments = arguments
        self._chosen = chosen
        self._store: Store | None = None

    def read(self, given: str) -> _Side:
        """The side that was asked for.

        Raises:
            LookupError: there is no such run, or nothing with this label, on this day.
            OSError, ValueError: the file cannot be read.
        """
        if Path(given).is_file():
            return _Side(Path(given).name, read_billed(given))
        if _DAY.fullmatch(given):
            day = datetime.fromtimestamp(read_time("A side", given) / 10**9)  # noqa: DTZ006 -- the days of who asks
            until = int((day + timedelta(days=1)).timestamp()) * 10**9
            return self._of(given, replace(self._chosen, since=int(day.timestamp()) * 10**9, until=until))
        name, equals, value = given.partition("=")
        if name and equals:
            return self._of(given, replace(self._chosen, labels={**self._chosen.labels, name: value}))
        run_id = self._run(given)
        return self._of(f"run {run_id[:8]}", replace(self._chosen, run=run_id))

    def _of(self, name: str, chosen: Filter) -> _Side:
        billed = list(billed_calls(self._opened().calls(chosen)))
        if not billed:
            raise LookupError(f"{name}: no call was billed there")
        return _Side(name, billed)

    def _run(self, given: str) -> str:
        back = _BEFORE_THE_LAST.fullmatch(given)
        if back is None:
            found: str = self._opened().run(given).run.run_id
            return found
        runs: list[RunRow] = self._opened().runs(
            replace(self._chosen, run=None), order="newest", limit=int(back[1]) + 1
        )
        if len(runs) <= int(back[1]):
            raise LookupError(f"{given}: there are only {len(runs)} runs")
        return runs[int(back[1])].run_id

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_store(self._arguments)
        return self._store


# -- what is allowed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Allowed:
    """By how much the cost may grow: by a share, or by pico-dollars."""

    share: float | None
    picousd: int

    def is_exceeded_by(self, found: Diff) -> bool:
        if self.share is None:
            return found.total.change_picousd > self.picousd
        share = found.change_share
        return found.total.change_picousd > 0 if share is None else share > self.share


def _allowed(given: str) -> _Allowed:
    share, dollars = _SHARE.fullmatch(given), _DOLLARS.fullmatch(given)
    if share is not None:
        return _Allowed(float(share[1]) / 100, 0)
    if dollars is not None:
        return _Allowed(None, to_picousd(float(dollars[1])) or 0)
    raise ValueError(f"--fail-above must be a share such as 5%, or dollars such as $0.10, not {given!r}")
