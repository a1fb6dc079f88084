"""Suggested budgets, and what budgets would have stopped, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from otel_harn_steps._cost.money import to_picousd
from otel_harn_steps.cli._text_table import Cell, Column, Line, folded, label, spread, table
from otel_harn_steps.store._meter import NOT_REPLAYED, Stop
from otel_harn_steps.store._numbers import counted, dollars, percent
from otel_harn_steps.store._replay import Replay, RuleResult
from otel_harn_steps.store._suggest import Suggestion, number_text, snippet

_MOST_STOPS: Final = 10
_OF_DOLLARS: Final = frozenset({"max_usd", "max_cost_per_call"})
_NS_PER_S: Final = 10**9
_OF_RUNS: Final = ("max_usd", "max_tokens", "max_calls")


def suggestion_lines(found: Sequence[Suggestion], of_run: Suggestion | None, width: int) -> list[Line]:
    """The lines: what runs of each step cost, the suggested budget, that of a whole run, and the file."""
    run_lines = [] if of_run is None else [Line.of(text) for text in folded(_of_run(of_run), width)]
    if not found:
        return [Line.of("no step has spent anything here"), *run_lines]
    few = [each for each in found if each.has_few_runs]
    unknown = sum(each.unknown_calls for each in found)
    notes = []
    if few:
        notes.append(
            f"fewer than 20 runs of {', '.join(label(each.step or '', 24) for each in few[:3])}: wait for more"
        )
    if unknown:
        notes.append(f"? {counted(unknown, 'call')} of unknown cost, which no limit of dollars counts")
    return [
        *_suggestions(found, width),
        *run_lines,
        *(Line.of(text, "dim") for note in notes for text in folded(note, width)),
        Line.of(""),
        *(Line.of(text) for text in snippet(found).splitlines()),
    ]


def _of_run(each: Suggestion) -> str:
    """Say what whole runs of programs have cost, and which limit of `otel-harn-steps run` fits."""
    cost = ", ".join(f"{name} {dollars(getattr(each.cost, name))}" for name in ("p50", "p95", "most"))
    given = " ".join(
        f"--{name.replace('_', '-')} {number_text(each.limits[name])}" for name in _OF_RUNS if name in each.limits
    )
    does = f"stops {percent(each.stopped, each.runs)} of {each.runs:,}, saves {dollars(each.saved_picousd)}"
    return f"a run: {cost}; otel-harn-steps run {given} {does}"


def _suggestions(found: Sequence[Suggestion], width: int) -> list[Line]:
    return table(
        [
            Column(
                heading="step", cells=[Cell(each.step or "") for each in found], is_name=True, leaves=None, narrowest=12
            ),
            _numbers("runs", [f"{each.runs:,}" for each in found], 3),
            _numbers("p50", [dollars(each.cost.p50) for each in found], 1),
            _numbers("p95", [dollars(each.cost.p95) for each in found], 1),
            _numbers("p99", [dollars(each.cost.p99) for each in found], 2),
            _numbers("most", [dollars(each.cost.most) for each in found], 0),
            _numbers("max_usd", [_max_usd(each) for each in found], None),
            _numbers("stops", [percent(each.stopped, each.runs) for each in found], 4),
            _numbers("saves", [dollars(each.saved_picousd) for each in found], 5),
        ],
        width,
    )


def _max_usd(each: Suggestion) -> str:
    limit = each.limits.get("max_usd")
    return "-" if limit is None else dollars(to_picousd(limit) or 0)


def _numbers(heading: str, texts: Sequence[str], leaves: int | None) -> Column:
    return Column(heading=heading, cells=[Cell(text) for text in texts], leaves=leaves)


# -- replays -----------------------------------------------------------------------------------------------------------


def replay_lines(found: Replay, file: str, width: int, *, has_all: bool = False) -> list[Line]:
    """The lines: each budget with what it would have stopped, and where."""
    lines = _rules(found.rules, width)
    stops = found.stops if has_all else found.stops[:_MOST_STOPS]
    more = len(found.stops) - len(stops)
    right_edge = min(max((line.width for line in lines), default=width), width)
    saved = f"saves {dollars(found.saved_picousd)} of {dollars(found.spent_picousd)}"
    left = f"{label(file, 30)}: stops {counted(found.stopped_runs, 'run')} of {found.runs:,}"
    return [
        spread(Line.of(left, "bold"), saved, right_edge, "bold"),
        *lines,
        *(Line.of(text) for each in stops for text in folded(_where(each), width)),
        *(Line.of(text, "dim") for note in _notes(found, more) for text in folded(note, width)),
    ]


def _rules(rules: Sequence[RuleResult], width: int) -> list[Line]:
    return table(
        [
            Column(heading="budget of", cells=[Cell(each.rule.name) for each in rules], is_name=True, leaves=None),
            Column(heading="limits", cells=[Cell(_limits(each)) for each in rules], is_name=True, narrowest=12),
            _numbers("runs", [f"{each.runs:,}" for each in rules], 1),
            _numbers("spent", [dollars(each.spent_picousd) for each in rules], 1),
            _numbers("stops", [f"{each.stopped:,}" for each in rules], None),
            _numbers("saves", [dollars(each.saved_picousd) for each in rules], None),
        ],
        width,
    )


def _limits(each: RuleResult) -> str:
    named = [f"{name} {value}" for name, value in each.rule.limits.items() if name.startswith("max_") or name == "loop"]
    return ", ".join([*named, *(["shadow"] if each.rule.only_looks else [])])


def _where(stop: Stop) -> str:
    """`run 7f3a91c2, plan/search: max_usd $0.5000 after 4 calls and $0.6100, saves 5 calls and $0.7900`."""
    limit = dollars(to_picousd(stop.limit_value) or 0) if stop.limit in _OF_DOLLARS else f"{stop.limit_value:,g}"
    when = datetime.fromtimestamp(stop.at // _NS_PER_S).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006 -- local time
    saves = f"saves {counted(stop.saved_calls, 'call')} and {dollars(stop.saved_picousd)}"
    return (
        f"run {label(stop.run_id[:8])}, {label(stop.path, 40)}, {when}: {stop.limit} {limit} after "
        f"{counted(stop.calls, 'call')} and {dollars(stop.spent_picousd)}, "
        f"{saves if stop.saved_calls else 'by its last call'}"
    )


def _notes(found: Replay, more: int) -> Iterator[str]:
    if more:
        yield f"and {more} more: --all"
    unmet = [each.rule for each in found.rules if not each.runs]
    if unmet:
        names = ", ".join(f"{label(each.name, 24)} ({each.where})" for each in unmet[:3])
        yield f"no run here of {names}{f' and {len(unmet) - 3} more' if len(unmet) > 3 else ''}"
    if any(each.rule.limits.get(name) is not None for each in found.rules for name in NOT_REPLAYED):
        yield "loop is not replayed: the ledger has no requests and answers"
    if any(each.rule.reserves for each in found.rules):
        yield "reserve: a call is taken to reserve what it has cost; a real reservation is higher, and stops sooner"
    if found.unknown_calls:
        yield f"? {counted(found.unknown_calls, 'call')} of unknown cost, which no limit of dollars counts"
