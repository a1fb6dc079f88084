"""What made a step more or less expensive, between two sides of the ledger.

Nothing is fitted. One side is turned into the other, one property after the other in a fixed order, and each turn
costs what it costs: so the parts add up to the difference to the pico-dollar. Quantities change at the prices of the
first side, prices at the quantities of the second.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from otel_harn_steps.store._billed import Billed
from otel_harn_steps.store._profile import Cell, Profile, add_up, mixed
from otel_harn_steps.store._repricing import NO_PRICES, OwnPrices

Part = Literal["calls", "input", "cache", "output", "fees", "model", "terms", "prices", "unknown"]

PARTS: Final[tuple[Part, ...]] = ("calls", "input", "cache", "output", "fees", "model", "terms", "prices", "unknown")
"""What a difference is made of.

`calls`: more or fewer calls. `input`, `output`: more or fewer tokens a call. `cache`: another share of the input is
read from or written to a cache. `fees`: searches and what else costs by the piece. `model`: another model, or other
shares of several. `terms`: another service tier, batch. `prices`: other rates of the same model: another price book, a
long request. `unknown`: more or fewer calls whose cost is known, or a cost whose rates are not.
"""

By = Literal["step", "path", "agent"]
BY: Final[tuple[By, ...]] = ("step", "path", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSide:
    """One side, of one key or of all.

    Attributes:
        cost_picousd: of all runs, estimates included.
        estimated_picousd: the estimated part of it.
        calls: all that were billed; of them, `unknown_calls` have no known cost.
        input_tokens, output_tokens, cache_read_tokens: of the calls whose usage and price are known.
        models: calls by model.
        price_books: where the prices are from.
    """

    cost_picousd: int = 0
    estimated_picousd: int = 0
    calls: int = 0
    unknown_calls: int = 0
    metered_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    models: Mapping[str, int] = field(default_factory=dict)
    price_books: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRow:
    """How one step has changed.

    Attributes:
        key: the step's name, or its path, or the agent.
        change_picousd: by how much; of one run where the diff is by run.
        parts: why: pico-dollars by `Part`. They add up to `change_picousd`.
    """

    key: str
    base: DiffSide
    head: DiffSide
    change_picousd: int
    parts: Mapping[Part, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two sides compared.

    Attributes:
        base_name, head_name: what they are called.
        base_runs, head_runs: how many runs of programs are in them.
        is_by_run: whether the changes are those of one run, because the sides have different numbers of runs.
        rows: the largest change first, whichever way. Their changes add up to that of the total.
        total: of everything.
    """

    by: By
    base_name: str
    head_name: str
    base_runs: int
    head_runs: int
    is_by_run: bool
    rows: tuple[DiffRow, ...]
    total: DiffRow

    @property
    def change_share(self) -> float | None:
        """By which share the cost has grown. None: there was none before."""
        per_run = Fraction(self.total.base.cost_picousd, self.base_runs if self.is_by_run and self.base_runs else 1)
        return float(self.total.change_picousd / per_run) if per_run else None


def diff(
    base: Iterable[Billed],
    head: Iterable[Billed],
    *,
    names: tuple[str, str] = ("base", "head"),
    by: By = "step",
    own: OwnPrices = NO_PRICES,
) -> Diff:
    """Compare two sides, by step.

    Args:
        base: what was billed before.
        head: what was billed after.
        names: what the sides are called.
        by: what a row is.
        own: what the user has said about prices, for costs that no price book explains.

    Raises:
        TypeError, ValueError: a rate of the user's is wrong.
    """
    sides = [list(base), list(head)]
    runs = [len({each.run_id for each in side}) for side in sides]
    is_by_run = runs[0] != runs[1] and all(runs)
    per = [count if is_by_run else 1 for count in runs]
    keys = [_by_key(side, by) for side in sides]
    found = sorted({*keys[0], *keys[1]})
    exact = [_parts(*([each.get(key, ()) for each in keys]), per=(per[0], per[1]), own=own) for key in found]
    totals = [sum(each.cost_picousd or 0 for each in side) for side in sides]
    change = round(Fraction(totals[1], per[1])) - round(Fraction(totals[0], per[0]))
    changes = _rounded([sum(parts.values(), Fraction(0)) for parts in exact], change)
    rows = [
        DiffRow(
            key=key,
            base=_side(keys[0].get(key, ())),
            head=_side(keys[1].get(key, ())),
            change_picousd=rounded,
            parts=dict(zip(PARTS, _rounded([parts[each] for each in PARTS], rounded), strict=True)),
        )
        for key, parts, rounded in zip(found, exact, changes, strict=True)
    ]
    return Diff(
        by=by,
        base_name=names[0],
        head_name=names[1],
        base_runs=runs[0],
        head_runs=runs[1],
        is_by_run=is_by_run,
        rows=tuple(sorted(rows, key=lambda row: (-abs(row.change_picousd), row.key))),
        total=DiffRow(
            key="",
            base=_side(sides[0]),
            head=_side(sides[1]),
            change_picousd=change,
            parts={part: sum(row.parts[part] for row in rows) for part in PARTS},
        ),
    )


def _by_key(side: Iterable[Billed], by: By) -> dict[str, list[Billed]]:
    key: Callable[[Billed], str] = {
        "step": lambda each: each.step,
        "path": lambda each: each.path,
        "agent": lambda each: each.agent or "(no agent)",
    }[by]
    found: dict[str, list[Billed]] = defaultdict(list)
    for each in side:
        found[key(each)].append(each)
    return found


def _side(billed: Iterable[Billed]) -> DiffSide:
    cost = estimated = calls = unknown = metered = inputs = outputs = cached = 0
    models = Counter[str]()
    books: set[str] = set()
    for each in billed:
        cost += each.cost_picousd or 0
        estimated += each.estimated_picousd
        calls += each.calls
        unknown += each.calls if each.cost_picousd is None else 0
        models[each.model or "(unknown model)"] += each.calls
        if each.book is not None:
            books.add(each.book)
        if each.usage is not None:
            metered += each.calls
            inputs += each.usage.input_tokens or 0
            outputs += each.usage.output_tokens or 0
            cached += each.usage.cache_read_tokens
    return DiffSide(
        cost_picousd=cost,
        estimated_picousd=estimated,
        calls=calls,
        unknown_calls=unknown,
        metered_calls=metered,
        input_tokens=inputs,
        output_tokens=outputs,
        cache_read_tokens=cached,
        models=dict(models.most_common()),
        price_books=tuple(sorted(books)),
    )


# -- why ---------------------------------------------------------------------------------------------------------------


def _parts(
    base: Sequence[Billed], head: Sequence[Billed], *, per: tuple[int, int], own: OwnPrices
) -> dict[Part, Fraction]:
    """Why the head costs more or less than the base: pico-dollars of one run, which add up exactly."""
    parts: dict[Part, Fraction] = dict.fromkeys(PARTS, Fraction(0))
    counts = [Fraction(sum(each.calls for each in side), runs) for side, runs in zip((base, head), per, strict=True)]
    cells = add_up(base, per[0], own), add_up(head, per[1], own)
    known = [sum((cell.calls for cell in side.values()), Fraction(0)) for side in cells]
    costs = [sum((cell.cost for cell in side.values()), Fraction(0)) for side in cells]
    if not counts[0] or not counts[1]:  # a new step, or one that is gone
        parts["calls" if any(known) else "unknown"] = costs[1] - costs[0]
        return parts
    if not known[0] or not known[1]:
        of_calls = (counts[1] - counts[0]) * (costs[0] / counts[0])
        parts["calls"], parts["unknown"] = of_calls, costs[1] - costs[0] - of_calls
        return parts
    # All calls change in number as they were; then another share of them has a known cost.
    parts["calls"] = (counts[1] - counts[0]) * (costs[0] / counts[0])
    a_call = costs[0] / known[0]
    parts["unknown"] = known[1] * a_call - costs[0] - parts["calls"]
    _by_cell(*cells, known[1] * a_call, parts)
    return parts


def _by_cell(
    base: Mapping[tuple[object, ...], Cell], head: Mapping[tuple[object, ...], Cell], before: Fraction,
    parts: dict[Part, Fraction],
) -> None:  # fmt: skip
    """Turn the mix of models of the base into the head's, and then each model's calls."""
    of_step = mixed(base.values())
    of_model = {model: mixed(cells) for model, cells in _by_model(base).items()}
    after_models = after_terms = Fraction(0)
    for key, cell in head.items():
        now, was = cell.profile, base.get(key)
        # What the calls of this cell were like before: in the cell, else with the model, else in the step.
        same_model = of_model.get(cell.model)
        like = was.profile if was is not None else same_model or of_step
        # A model that was not there has its own prices from the start.
        keeps_prices = was is not None or (same_model is not None and same_model.is_opaque != now.is_opaque)
        start = like if keeps_prices else like.at_prices_of(now)
        after_models += cell.calls * (start if same_model is None else same_model).cost
        after_terms += cell.calls * start.cost
        for part, turned in _turns(start, now):
            parts[part] += cell.calls * turned
    parts["model"] += after_models - before
    parts["terms"] += after_terms - after_models


def _by_model(cells: Mapping[tuple[object, ...], Cell]) -> dict[tuple[str, str | None], list[Cell]]:
    found: dict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for cell in cells.values():
        found[cell.model].append(cell)
    return found


def _turns(start: Profile, now: Profile) -> list[tuple[Part, Fraction]]:
    """What one call costs more, as its properties become those of `now`, one after the other."""
    if start.is_opaque or now.is_opaque:
        return [("unknown", now.cost - start.cost)]
    longer = start.with_input(now)
    cached = longer.with_cache(now)
    answered = cached.with_output(now)
    paid = answered.with_fees(now)
    return [
        ("input", longer.cost - start.cost),
        ("cache", cached.cost - longer.cost),
        ("output", answered.cost - cached.cost),
        ("fees", paid.cost - answered.cost),
        ("prices", now.cost - paid.cost),
    ]


def _rounded(exact: Sequence[Fraction], total: int) -> list[int]:
    """Integers next to these numbers that add up to `total`: the largest remainders are rounded up."""
    down = [each.numerator // each.denominator for each in exact]
    missing = total - sum(down)
    by_remainder = sorted(range(len(exact)), key=lambda n: (-(exact[n] - down[n]), n))
    while missing and by_remainder:  # more than once round only where the sum itself was rounded by run
        step = 1 if missing > 0 else -1
        for number in by_remainder[: abs(missing)] if step > 0 else by_remainder[::-1][: abs(missing)]:
            down[number] += step
        missing = total - sum(down)
    return down
