"""The plot of the field, as SVG. The same rows give the same bytes."""
from __future__ import annotations

import io
from typing import Any

import field
import matplotlib
from matplotlib.figure import Figure

PANELS = {"one call": "A step with a call", "ten calls": "With ten calls", "stream of 50": "With a stream", "three nested": "Three nested steps"}
TICKS = [0.0625, 0.25, 1, 4, 16, 64, 256]
TITLE = "Instructions over no instrumentation, as a multiple of spans written by hand"
OURS, OTHERS, TEXT, LINES, PAPER = "#1f5fbf", "#6b7280", "#1f2937", "#d8dce3", "#ffffff"
STYLE = {
    "svg.hashsalt": "otel-harn-steps",
    "svg.fonttype": "none",                         # words stay words: they can be read aloud, and found
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def plot(rows: dict[str, dict[str, Any]]) -> str:
    """A dot per contender and workload, in units of spans by hand. On paper of its own, for light and dark pages."""
    names = [name for name in reversed(field.in_order(rows)) if "error" not in rows[name]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.3 * len(names) + 1.1), facecolor=PAPER, layout="constrained")
        for axes, column in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS):
            draw(axes, rows, names, column)
        figure.supxlabel(f"{TITLE} (logarithmic)", fontsize=9)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        out = io.StringIO()
        figure.savefig(out, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None, "Title": TITLE})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def draw(axes: Any, rows: dict[str, dict[str, Any]], names: list[str], column: str) -> None:
    unit = field.of(rows[field.UNIT], column)
    costs = [field.of(rows[name], column) / unit for name in names]
    axes.set_title(PANELS[column], fontsize=9.5, loc="left")
    axes.set_xscale("log")
    axes.set_xlim(min(0.4, *costs) / 2.4, max(costs) * 2.4)
    axes.set_xticks([tick for tick in TICKS if axes.get_xlim()[0] < tick < axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_yticks(range(len(names)), [field.CONTENDERS[name][0].replace("`", "") for name in names])
    axes.grid(color=LINES, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(1, color=TEXT, linewidth=0.9)
    axes.tick_params(length=0)
    for label, name in zip(axes.get_yticklabels(), names):
        if is_ours(name):
            label.set(color=OURS, weight="bold")
    axes.spines[:].set_visible(False)
    for at, (name, cost) in enumerate(zip(names, costs)):
        hollow = not rows[name].get("right")
        axes.plot(cost, at, "o", markersize=6.5, color=OURS if is_ours(name) else OTHERS, markerfacecolor=PAPER if hollow else None)
        axes.annotate(f"{cost:.{2 if cost < 1 else 1 if cost < 10 else 0}f}", (cost, at), textcoords="offset points",
                      xytext=(-6 if cost < 1 else 6, 0), ha="right" if cost < 1 else "left", va="center", fontsize=8,
                      color=OURS if is_ours(name) else TEXT, weight="bold" if is_ours(name) else "normal")


def is_ours(name: str) -> bool:
    return name.startswith("ours")
