"""Makes the file of list prices that spares apps the import of the price book, of the genai-prices that is installed.

python tools/known_rates.py           writes it
python tools/known_rates.py --check   exits with 1 if it is not current
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from genai_prices import __version__  # noqa: E402 -- with what is of this tree
from genai_prices.types import ModelInfo, Provider, StartDateConstraint  # noqa: E402

from otel_harn_steps._cost.known_rates import FILE, SNAPSHOT  # noqa: E402 -- of this tree
from otel_harn_steps._cost.list_prices import _book, _book_prices, _found_as  # noqa: E402
from otel_harn_steps._cost.rate_card import TieredRate  # noqa: E402

PROVIDERS = (
    "anthropic", "aws", "azure", "cerebras", "cohere", "deepseek", "fireworks", "google", "groq", "mistral",
    "moonshotai", "openai", "perplexity", "together", "x-ai",
)  # fmt: skip
"""Those that the patched clients call themselves. Of gateways there are too many models."""
_DATES = ("-20260203", "-2026-02-03", "@20260203", "-20271130", "-2027-11-30")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Found = tuple[Provider, ModelInfo]


def made() -> str:
    """The file."""
    rates: list[dict[str, Any]] = []
    models: dict[str, dict[str, list[Any]]] = {}
    for provider in _book().providers:
        if provider.id in PROVIDERS:
            models[provider.id] = dict(_models(provider, rates))
    known = {
        "version": __version__,
        "providers": sorted(each.id for each in _book().providers),
        "rates": rates,
        "models": models,
    }
    return json.dumps(known, separators=(",", ":"), sort_keys=True) + "\n"


def _models(provider: Provider, rates: list[dict[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    every = {each.id: each for each in _book().providers}
    sellers = [provider, *(every[each] for each in provider.fallback_model_providers or ())]
    clauses = [clause for seller in sellers for model in seller.models for clause in _clauses(model.match)]
    ids = [model.id for seller in sellers for model in seller.models]
    names = sorted({name.lower() for name in (*ids, *(text for _, text in clauses))})
    found = {name: known for name in names if (known := _found_as(provider.id, name)) is not None}
    loose = any(re.search(r"\d{4}", text) for kind, text in clauses if kind not in ("equals", "starts_with"))
    for name, (_, info) in found.items():
        begins = _begins(info)
        prices = [] if begins is None else [_rates_at(info, begin) for begin in begins]
        if begins is None or not all(prices):
            continue
        rates.extend(each for index, each in enumerate(prices) if each not in (*rates, *prices[:index]))
        has_snapshots = not loose and _has_snapshots(provider, name, info, found)
        periods = [
            [None if begin is None else int(begin.timestamp()), rates.index(each)]
            for begin, each in zip(begins, prices, strict=True)
        ]
        yield name, [periods, info.context_window, int(has_snapshots)]


def _begins(info: ModelInfo) -> list[datetime | None] | None:
    """When rates begin to hold, the first of them at no date. None: they depend on the time of day."""
    if not isinstance(info.prices, list):
        return [None]
    dates = set[datetime]()
    for each in info.prices:
        if isinstance(each.constraint, StartDateConstraint):
            dates.add(datetime.combine(each.constraint.start_date, time(), UTC))
        elif each.constraint is not None:
            return None
    return [None, *sorted(dates)]


def _has_snapshots(provider: Provider, name: str, info: ModelInfo, found: Mapping[str, Found]) -> bool:
    """Whether every name with a date behind this one has the same prices."""
    dated = re.compile(rf"{re.escape(name)}[-@]\d")
    if SNAPSHOT.search(name) or any(each is not info for other, (_, each) in found.items() if dated.match(other)):
        return False
    others = (_found_as(provider.id, name + date) for date in _DATES)
    return all(each is not None and each[1] is info for each in others)


def _rates_at(info: ModelInfo, begin: datetime | None) -> dict[str, Any]:
    prices = _book_prices(info.get_prices(_LONG_AGO if begin is None else begin, None))
    return {
        key: [str(price.base), *([start, str(above)] for start, above in price.tiers)]
        if isinstance(price, TieredRate)
        else str(price)
        for key, price in prices.items()
    }


def _clauses(match: Any) -> Iterator[tuple[str, str]]:
    for kind in ("equals", "starts_with", "ends_with", "contains", "regex"):
        if hasattr(match, kind):
            yield kind, getattr(match, kind)
    for each in (*getattr(match, "or_", ()), *getattr(match, "and_", ())):
        yield from _clauses(each)


def main() -> int:
    """Write the file, or look whether it is current."""
    text = made()
    if "--check" in sys.argv[1:]:
        is_current = FILE.exists() and FILE.read_text(encoding="utf-8") == text
        if not is_current:
            print(f"{FILE.relative_to(_ROOT)} is not current: python tools/known_rates.py")
        return 0 if is_current else 1
    FILE.write_text(text, encoding="utf-8")
    print(f"{FILE.relative_to(_ROOT)}: {len(text):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
