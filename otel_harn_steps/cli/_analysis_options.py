"""What the commands take that ask the ledger why, and what if: `diff`, `whatif`, `budget`, `watch`, `prices`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._reading_options import add_filter

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    _Commands = _SubParsersAction[argparse.ArgumentParser]

_DIFF: Final = """
Compare two sides: which step has become more expensive, and why, in parts that add up exactly. A side is a run (its id,
the beginning of it, last, last~1), a day (2026-11-25), a label (revision=abc), or a file of journal lines, calls or
records. With different numbers of runs, one run is compared with one run. Exits with 1 above --fail-above.
"""
_WHATIF: Final = """
Price the ledger again, by the price functions that have priced it: with another model, service tier, prices of your
own, or another cached share of the input. Another model may count the same text as other tokens: then there is a range.
"""
_BUDGET: Final = """
Find budgets for steps, or try those of a file: both over what was spent so far, call by call.
"""
_SUGGEST: Final = """
Suggest a budget for each step, from what its runs have cost with all below them; tried on the ledger call by call, and
printed as a harn-steps.toml. STEP is a pattern on the name, such as `plan*`.
"""
_TEST: Final = """
Replay the budgets of a configuration file over the ledger: which runs of steps they would have stopped, where, and what
that would have saved. With --fail, exits with 1 if there is one.
"""
_WATCH: Final = """
Watch what is spent in a sliding window. Above the limit, exits with 1; or with --exec, runs a command, once for each
time that the limit is crossed, and goes on. With --once, looks once: for cron and CI.
"""
_PRICES: Final = """
Show the rates of models by the price book: for each kind of token, under each tier, and where they are from. Exits with
1 if a model is not known.
"""


def add_analysis(commands: _Commands) -> None:
    """Add the commands."""
    _add_diff(commands)
    _add_whatif(commands)
    _add_budget(commands)
    _add_watch(commands)
    _add_prices(commands)


def _add_diff(commands: _Commands) -> None:
    diff = commands.add_parser("diff", help="show which step costs more than before, and why", description=_DIFF)
    diff.add_argument("base", metavar="A", help="a run, a day, NAME=VALUE of a label, or a file")
    diff.add_argument("head", metavar="B", help="the same, to compare with it")
    diff.add_argument("--by", choices=("step", "path", "agent"), default="step", help="what a row is; default: step")
    diff.add_argument("--all", action="store_true", help="show all rows, and not only the first 15")
    diff.add_argument(
        "--fail-above", metavar="5%", help="exit with 1 if the cost grows by more: 5%%, or dollars as $0.10"
    )
    diff.add_argument("--prices", metavar="FILE", help="the prices of your own that the calls were priced with")
    written = diff.add_mutually_exclusive_group()
    written.add_argument("--json", action="store_true", help="print the comparison as JSON")
    written.add_argument("--markdown", action="store_true", help="print it as Markdown, for a pull request")
    add_filter(diff)


def _add_whatif(commands: _Commands) -> None:
    whatif = commands.add_parser("whatif", help="price the ledger again, with something changed", description=_WHATIF)
    change = whatif.add_argument_group("what is changed")
    change.add_argument(
        "--model", dest="to_model", metavar="MODEL", help="another model, as gpt-5-nano or openai:gpt-5-nano"
    )
    change.add_argument("--tier", choices=("standard", "batch", "flex", "priority"), help="another service tier")
    change.add_argument("--prices", metavar="FILE", help="your own prices: a harn-steps.toml, or JSON by model")
    change.add_argument("--cache", metavar="SHARE", help="another cached share of the input: none, or such as 80%%")
    change.add_argument(
        "--tokens", metavar="LOW..HIGH", help="how many tokens the other model counts for one, such as 0.9..1.2"
    )
    whatif.add_argument("--all", action="store_true", help="show all steps, and not only the first 15")
    whatif.add_argument("--json", action="store_true", help="print it as JSON")
    add_filter(whatif, without=("model",))
    whatif.add_argument(
        "--from-model",
        action="append",
        dest="model",
        metavar="GLOB",
        help="change only calls to models with such a name",
    )


def _add_budget(commands: _Commands) -> None:
    budget = commands.add_parser(
        "budget", help="find budgets for steps, or try them on what was spent", description=_BUDGET
    )
    actions = budget.add_subparsers(dest="action", required=True, metavar="ACTION")
    suggest = actions.add_parser("suggest", help="suggest budgets", description=_SUGGEST)
    suggest.add_argument("steps", nargs="*", metavar="STEP", help="only for such steps; default: all")
    suggest.add_argument(
        "--stop", metavar="SHARE", default="1%", help="how many runs may cost more than it allows; default: 1%%"
    )
    suggest.add_argument(
        "--preflight", choices=("reserve", "exhausted"), default="reserve", help="how it is held; default: reserve"
    )
    suggest.add_argument("--config", metavar="FILE", help="a configuration that names the functions of steps")
    suggest.add_argument("--toml", action="store_true", help="print the file alone")
    suggest.add_argument("--json", action="store_true", help="print it as JSON")
    add_filter(suggest, without=("step",))
    test = actions.add_parser("test", help="replay the budgets of a file", description=_TEST)
    test.add_argument("file", metavar="FILE", help="a harn-steps.toml or pyproject.toml")
    test.add_argument("--fail", action="store_true", help="exit with 1 if anything would have been stopped")
    test.add_argument("--all", action="store_true", help="show all runs that would have been stopped")
    test.add_argument("--json", action="store_true", help="print it as JSON")
    add_filter(test, without=("step", "agent", "model", "provider"))
    for each in (suggest, test):  # as every command has it; what stands before the action holds without it
        each.add_argument(
            "--color", choices=("auto", "always", "never"), default=argparse.SUPPRESS, help="as of `budget` itself"
        )


def _add_watch(commands: _Commands) -> None:
    watch = commands.add_parser("watch", help="tell when too much is spent", description=_WATCH)
    watch.add_argument("--max-usd-per-hour", metavar="USD", required=True, help="the limit, in US dollars an hour")
    watch.add_argument("--window", metavar="PERIOD", default="1h", help="over how long: 10m, 1h, 1d; default: 1h")
    watch.add_argument("--interval", metavar="SECONDS", default="10", help="how often to look; default: 10")
    watch.add_argument(
        "--exec", metavar="COMMAND", dest="command_line", help="run this, with what was spent in its environment"
    )
    watch.add_argument("--once", action="store_true", help="look once, and exit")
    watch.add_argument("--json", action="store_true", help="print what is spent as JSON, a line for each look")
    add_filter(watch, without=("since", "until"))


def _add_prices(commands: _Commands) -> None:
    prices = commands.add_parser("prices", help="show what models cost", description=_PRICES)
    prices.add_argument("models", nargs="+", metavar="MODEL", help="as gpt-5-nano, or openai:gpt-5-nano")
    prices.add_argument("--provider", metavar="NAME", help="who sells it; default: as the name says")
    prices.add_argument("--at", metavar="DAY", help="at that time, such as 2026-06-30; default: now")
    prices.add_argument("--prices", metavar="FILE", help="your own prices: a harn-steps.toml, or JSON by model")
    prices.add_argument("--json", action="store_true", help="print them as JSON")
