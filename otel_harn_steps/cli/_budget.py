"""`otel-harn-steps budget`: budgets that fit what was spent, and what a file's budgets would have stopped."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import open_store, read_filter
from otel_harn_steps.store._history import History

if TYPE_CHECKING:
    from otel_harn_steps.config._plan import Plan
    from otel_harn_steps.store._replay import Replay
    from otel_harn_steps.store._suggest import Suggestion, Wish

_USAGE_ERROR: Final = 2
_SHARE: Final = re.compile(r"(\d{1,2}(?:\.\d+)?)\s*%")


def budget(arguments: argparse.Namespace) -> int:
    """Suggest budgets, or replay those of a file. Returns 1 where `--fail` was given and something would be stopped."""
    try:
        return _suggest(arguments) if arguments.action == "suggest" else _test(arguments)
    except ModuleNotFoundError as error:
        complain(f"a configuration file needs {error.name}: pip install 'otel-harn-steps[cli]'")
    except (OSError, ValueError) as error:
        complain(str(error))
    return _USAGE_ERROR


def _history(arguments: argparse.Namespace) -> History:
    chosen = read_filter(arguments)
    # A step may have begun before the first call that is asked for, and its calls may be of any model.
    around = replace(chosen, since=None, until=None, models=(), providers=(), agents=(), labels={})
    with open_store(arguments) as store:
        return History(store.calls(chosen), store.step_runs(around))


# -- suggest -----------------------------------------------------------------------------------------------------------


def _suggest(arguments: argparse.Namespace) -> int:
    # Only what the command needs.
    from otel_harn_steps.store._suggest import snippet, suggest, suggest_for_runs  # noqa: PLC0415 -- as said

    history, wish = _history(arguments), _wish(arguments)
    found = suggest(history, wish)
    of_run = suggest_for_runs(history, wish)
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- as above

        print(json.dumps({"suggestions": to_json(found), "run": to_json(of_run), "toml": snippet(found)}, indent=2))
    elif arguments.toml:
        print(snippet(found), end="")
    else:
        _print_suggestions(found, of_run, arguments)
    return 0


def _print_suggestions(found: list[Suggestion], of_run: Suggestion | None, arguments: argparse.Namespace) -> None:
    from otel_harn_steps.cli._budget_text import suggestion_lines  # noqa: PLC0415 -- as above
    from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above

    print_lines(suggestion_lines(found, of_run, terminal_width()), arguments.color)


def _wish(arguments: argparse.Namespace) -> Wish:
    from otel_harn_steps.store._rules import targets_of  # noqa: PLC0415 -- as above
    from otel_harn_steps.store._suggest import Wish  # noqa: PLC0415 -- as above

    share = _SHARE.fullmatch(arguments.stop)
    if share is None:
        raise ValueError(f"--stop must be a share of the runs below 100%, such as 1%, not {arguments.stop!r}")
    return Wish(
        stop_share=float(share[1]) / 100,
        preflight=arguments.preflight,
        steps=tuple(arguments.steps),
        targets={} if arguments.config is None else targets_of(_plan(arguments.config)),
    )


# -- test --------------------------------------------------------------------------------------------------------------


def _test(arguments: argparse.Namespace) -> int:
    from otel_harn_steps.store._replay import replay  # noqa: PLC0415 -- as above
    from otel_harn_steps.store._rules import rules_of  # noqa: PLC0415 -- as above

    plan = _plan(arguments.file)
    rules = rules_of(plan)
    if plan.budgets:
        complain(f"budgets of labels are not replayed: {', '.join(plan.budgets)}")
    if not rules:
        raise ValueError(f"{arguments.file}: there is no budget of a step or an agent in it")
    found = replay(_history(arguments), rules)
    if arguments.json:
        from otel_harn_steps.store import to_json  # noqa: PLC0415 -- as above

        print(json.dumps(to_json(found), indent=2))
    else:
        _print_replay(found, arguments)
    return 1 if found.stops and arguments.fail else 0


def _print_replay(found: Replay, arguments: argparse.Namespace) -> None:
    from otel_harn_steps.cli._budget_text import replay_lines  # noqa: PLC0415 -- as above
    from otel_harn_steps.cli._terminal import print_lines, terminal_width  # noqa: PLC0415 -- as above

    print_lines(replay_lines(found, arguments.file, terminal_width(), has_all=arguments.all), arguments.color)


def _plan(path: str) -> Plan:
    """What a file says.

    Raises:
        ValueError: there is a mistake in it.
    """
    from otel_harn_steps.config._loading import load  # noqa: PLC0415 -- as above

    loaded = load(path)
    if loaded.problems:
        raise ValueError("\n".join(map(str, loaded.problems)))
    return loaded.plan
