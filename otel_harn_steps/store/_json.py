"""Views in plain JSON values: what `--json` prints, and what the page asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from otel_harn_steps._cost.money import to_usd
from otel_harn_steps._telemetry.call_row import CallRow
from otel_harn_steps.store._spend import Spend

_PICOUSD = "_picousd"


def to_json(view: object) -> Any:
    """A view of a store in plain JSON values: its fields by their names.

    Beside each number of pico-dollars, which is exact, are the US dollars: `cost_picousd` and `cost_usd`. Times are
    nanoseconds since the epoch.
    """
    if isinstance(view, Spend):
        return _with_dollars(view.to_dict())
    if isinstance(view, CallRow):
        return _with_dollars(view.to_dict())
    if is_dataclass(view) and not isinstance(view, type):
        return _with_dollars({each.name: to_json(getattr(view, each.name)) for each in fields(view)})
    if isinstance(view, Mapping):
        return {str(key): to_json(value) for key, value in view.items()}
    if isinstance(view, (list, tuple)):
        return [to_json(each) for each in view]
    return view


def _with_dollars(values: dict[str, Any]) -> dict[str, Any]:
    for name in [name for name in values if name.endswith(_PICOUSD)]:
        picousd = values[name]
        values.setdefault(f"{name.removesuffix(_PICOUSD)}_usd", None if picousd is None else to_usd(picousd))
    return values
