"""`otel-harn-steps whatif`: the ledger priced again, with something changed."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final

from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._price_files import provider_and_model, read_prices
from otel_harn_steps.cli._reading_options import open_store, read_filter
from otel_harn_steps.store._repricing import NO_PRICES
from otel_harn_steps.store._tokenizers import Range
from otel_harn_steps.store._whatif import Change, what_if

_USAGE_ERROR: Final = 2
_RANGE: Final = re.compile(r"(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?)")
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")


def whatif(arguments: argparse.Namespace) -> int:
    """Print what the ledger would cost."""
    try:
        change = read_change(arguments)
        chosen = replace(read_filter(arguments), steps=(), models=())
        with open_store(arguments) as store:
            found = what_if(store.calls(chosen), change, is_meant=_is_meant(arguments.step, arguments.model))
    except ModuleNotFoundError as error:
        complain(f"a configuration file needs {error.name}: pip install 'otel-harn-steps[cli]'")
        return _USAGE_ERROR
    except (OSError, TypeError, ValueError) as error:
        complain(str(error))
        return _USAGE_ERROR
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- only what the command needs

        print(json.dumps(to_json(found), indent=2))
    else:
        from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above
        from otel_harn_steps.cli._whatif_text import whatif_lines  # noqa: PLC0415 -- as above

        print_lines(whatif_lines(found, change, terminal_width(), has_all=arguments.all), arguments.color)
    return 0


def read_change(arguments: argparse.Namespace) -> Change:
    """What is to be changed, as the options say.

    Raises:
        OSError, ValueError: a value is none, or nothing is to be changed. The message names the option.
    """
    if not (arguments.to_model or arguments.tier or arguments.prices or arguments.cache):
        raise ValueError("nothing is changed: give --model, --tier, --prices or --cache")
    provider, model = provider_and_model(arguments.to_model) if arguments.to_model else (None, None)
    return Change(
        model=model,
        provider=provider,
        tier=arguments.tier,
        own=read_prices(arguments.prices) if arguments.prices else NO_PRICES,
        cached_share=None if arguments.cache is None else _share(arguments.cache),
        tokens=None if arguments.tokens is None else _tokens(arguments.tokens),
    )


def _share(given: str) -> Fraction:
    found = _SHARE.fullmatch(given)
    share = Fraction(0) if given == "none" else None if found is None else Fraction(found[1]) / 100
    if share is None or share > 1:
        raise ValueError(f"--cache must be none, or a share of the input such as 80%, not {given!r}")
    return share


def _tokens(given: str) -> Range:
    found = _RANGE.fullmatch(given)
    low, high = (Fraction(0), Fraction(0)) if found is None else (Fraction(found[1]), Fraction(found[2]))
    if not 0 < low <= high:
        raise ValueError(f"--tokens must be two numbers such as 0.9..1.2, the lower one first, not {given!r}")
    return low, high


def _is_meant(steps: list[str], models: list[str]) -> Callable[[CallRow], bool]:
    def is_meant(row: CallRow) -> bool:
        names = (row.step, row.path)
        fits = not steps or any(fnmatchcase(name, pattern) for name in names for pattern in steps)
        model = row.model or row.requested_model or ""
        return fits and (not models or any(fnmatchcase(model, pattern) for pattern in models))

    return is_meant
