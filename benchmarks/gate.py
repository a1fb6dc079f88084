#!/usr/bin/env python3
"""Whether a step, a call or a chunk of a stream costs more than it did: instructions by callgrind, held against figures.json.

    make bench-gate       fails where one costs over 3 % more than its figure
    make bench-figures    the figures are what is measured now; the file is committed with the change that explains it

It measures this checkout with the Python that runs it. A figure is in units of what the hand-written spans of a step with one
call cost in the same run (`otel_floor`, W1b), so that builds of Python differ little. They still differ, by 1 to 3 % and by 11 %
in a chunk (CPython 3.11.7 without and 3.11.2 with profile-guided optimisation): on another build than that of the figures
15 % more is let pass. A release of Python without figures is measured, and compared with nothing.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "figures.json"
MOST, MOST_ELSEWHERE = 1.03, 1.15                  # on the build of Python that the figures are of, on another one
# The same process counts the same to 0.02 %. Where things lie in memory, which any change moves, makes up to 0.1 % of the
# whole, and 1 % of what is ours in it: the mean over processes with other hash seeds takes most of that away.
SEEDS, SAMPLES = (0, 1, 2), 2
# By contender: workloads, and units in a sample.
FLOOR = {"W1b": 20}
OURS = {"W1": 10, "W1b": 20, "W2": 2, "W4b": 10, "W4c": 4, "W5": 50}
STEPS_ONLY = {"W1b": 20, "W2": 2}
CONTENDERS = {"ours": OURS, "bare": OURS, "ours_steps_only": STEPS_ONLY, "otel_floor": FLOOR}
MORE_CHUNKS = 250 - 50                              # of W4c than of W4b

Figures = dict[str, float]                          # by name, in units of the floor


class CannotMeasure(Exception):
    """Nothing can be said. The message says why, and what to do."""


def this_python() -> tuple[str, str]:
    """The release, and the build."""
    release = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}"
    is_optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return release, f"{platform.python_version()}, {platform.python_compiler()}{', optimised by profile' if is_optimised else ''}"


def counts() -> dict[str, dict[str, float]]:
    """Thousand instructions per unit, by contender and workload."""
    for program in ("valgrind", "vgdb"):
        if shutil.which(program) is None:
            raise CannotMeasure(f"{program} is missing: install the package `valgrind`, or run `make bench-gate` as root on Debian")
    import run

    run.ENV["PYTHONPATH"] = f"{HERE.parent}{os.pathsep}{HERE}"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        processes = {
            name: [pool.submit(run.counted, sys.executable, name, jobs, SAMPLES, seed) for seed in SEEDS]
            for name, jobs in CONTENDERS.items()
        }
        found = {name: [each.result() for each in ours] for name, ours in processes.items()}
    for name, each in found.items():
        for error in (process["error"] for process in each if "error" in process):
            raise CannotMeasure(f"{name} cannot be measured: {error}")
    return {name: {load: fmean(process[load] for process in each) for load in CONTENDERS[name]} for name, each in found.items()}


def figures_of(measured: Mapping[str, Mapping[str, float]]) -> tuple[Figures, float]:
    """Each figure in units of the floor, and the floor in thousand instructions."""
    try:
        bare = measured["bare"]
        floor = measured["otel_floor"]["W1b"] - bare["W1b"]
        ours, steps_only = ({w: measured[name][w] - bare[w] for w in CONTENDERS[name]} for name in ("ours", "ours_steps_only"))
    except KeyError as missing:
        raise CannotMeasure(f"nothing was measured for {missing}") from None
    thousands = {
        "a step with a call": ours["W1"],
        "a step with a call, without HTTP": ours["W1b"],
        "the same without call spans": steps_only["W1b"],
        "a step with ten calls": ours["W2"],
        "ten calls without call spans": steps_only["W2"],
        "three nested steps": ours["W5"],
        "a chunk of a stream": (ours["W4c"] - ours["W4b"]) / MORE_CHUNKS,
    }
    return {name: round(each / floor, 5) for name, each in thousands.items()}, floor


def committed(path: Path) -> dict[str, dict[str, Any]]:
    """By release of Python: its `build` and its `figures`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CannotMeasure(f"{path} is no JSON ({error}): `make bench-figures` writes it anew where it is deleted") from None
    if not isinstance(found, dict) or not all(are_figures(each) for each in found.values()):
        raise CannotMeasure(f"{path} does not have figures by release of Python: delete it, then `make bench-figures`")
    return found


def are_figures(found: object) -> bool:
    return (isinstance(found, dict) and found.keys() == {"build", "figures"} and isinstance(found["figures"], dict)
            and all(isinstance(each, int | float) and each > 0 for each in found["figures"].values()))


def table(before: Figures, now: Figures, floor: float) -> str:
    lines = ["| | committed | now | change | thousand instructions |", "|---|---:|---:|---:|---:|"]
    for name, figure in now.items():
        was = before.get(name)
        compared = f"{was:.4f} | {figure:.4f} | {figure / was - 1:+.1%}" if was else f"- | {figure:.4f} | new"
        lines.append(f"| {name} | {compared} | {figure * floor:,.1f} |")
    return "\n".join(lines)


def verdict(before: Figures, now: Figures, most: float) -> tuple[int, str]:
    """The exit code, and what to say."""
    unlike = sorted(before.keys() ^ now.keys())
    if unlike:
        return 2, f"committed and measured figures are not the same: {', '.join(unlike)}\n`make bench-figures` writes them anew"
    change = {name: now[name] / before[name] for name in now}
    dearer = [f"{name} ({each - 1:+.1%})" for name, each in change.items() if each > most]
    if dearer:
        return 1, (f"more expensive than benchmarks/figures.json by over {most - 1:.0%}: {', '.join(dearer)}\n"
                   "Make it cheaper, or, where it is worth what it costs: `make bench-figures`, and commit the file with the reason")
    cheaper = [f"{name} ({each - 1:+.1%})" for name, each in change.items() if each < 2 - most]
    return 0, f"cheaper than benchmarks/figures.json: {', '.join(cheaper)}\n`make bench-figures` keeps it so" if cheaper else ""


def main(arguments: list[str], measure: Callable[[], Mapping[str, Mapping[str, float]]] = counts, path: Path = FIGURES) -> int:
    """0: no figure is worse; 1: one is; 2: nothing can be said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what is measured into figures.json")
    write = parser.parse_args(arguments).write
    python, build = this_python()
    try:
        before = committed(path)
        now, floor = figures_of(measure())
    except CannotMeasure as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{python} ({build}); in units of the hand-written spans of a step with a call ({floor:.0f} thousand instructions)")
    print(table(before[python]["figures"] if python in before else {}, now, floor))
    if write:
        path.write_text(json.dumps({**before, python: {"build": build, "figures": now}}, indent=2) + "\n", encoding="utf-8")
        return 0
    if python not in before:
        print(f"{path.name} has no figures of {python}: nothing is compared; `make bench-figures` adds them")
        return 0
    is_at_home = before[python]["build"] == build
    if not is_at_home:
        print(f"{path.name} is of another build ({before[python]['build']}): only what costs over {MOST_ELSEWHERE - 1:.0%} more fails")
    code, words = verdict(before[python]["figures"], now, MOST if is_at_home else MOST_ELSEWHERE)
    if words:
        print(words, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
