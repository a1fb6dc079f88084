"""The gate of benchmarks/gate.py: what it lets pass, what it says. Nothing is measured here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

BARE = {"W1": 5000, "W1b": 2000, "W2": 50_000, "W4b": 3000, "W4c": 3100, "W5": 2}
MEASURED = {
    "bare": BARE,
    "otel_floor": {"W1b": 2400},
    "ours": {"W1": 5600, "W1b": 2600, "W2": 54_000, "W4b": 4000, "W4c": 4900, "W5": 802},
    "ours_steps_only": {"W1b": 2400, "W2": 51_200},
}
Gate = Callable[..., int]


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """Where the figures are committed."""
    return tmp_path / "figures.json"


@pytest.fixture
def gate(figures: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Runs the command on what `measured` says, in thousand instructions, and changes of it. Returns its exit code."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gate

    def run(
        *arguments: str,
        python: str = "CPython 3.11, x86_64",
        build: str = "3.11.7, GCC",
        measured=MEASURED,
        **ours: int,
    ) -> int:
        monkeypatch.setattr(gate, "this_python", lambda: (python, build))
        changed = {**measured, "ours": {**measured["ours"], **ours}} if ours else measured
        return gate.main(list(arguments), measure=lambda: changed, path=figures)

    yield run
    del sys.modules["gate"]


def test_what_costs_as_much_as_committed_passes(gate: Gate) -> None:
    assert gate("--write") == 0
    assert gate() == 0


def test_figures_are_in_units_of_the_hand_written_spans_of_a_step_with_a_call(gate: Gate, figures: Path) -> None:
    gate("--write")
    assert json.loads(figures.read_text())["CPython 3.11, x86_64"]["figures"] == {
        "a step with a call": 1.5,
        "a step with a call, without HTTP": 1.5,
        "the same without call spans": 1.0,
        "a step with ten calls": 10.0,
        "ten calls without call spans": 3.0,
        "three nested steps": 2.0,
        "a chunk of a stream": 0.01,
    }


def test_what_costs_over_three_percent_more_fails_and_is_named_with_what_to_do(gate: Gate, capsys) -> None:
    gate("--write")
    assert gate(W5=834) == 1
    said = capsys.readouterr().err
    assert "three nested steps (+4.0%)" in said
    assert "step with" not in said
    assert "make bench-figures" in said


def test_a_chunk_of_a_stream_is_held_to_its_own_figure(gate: Gate, capsys) -> None:
    gate("--write")
    assert gate(W4c=4900 + 80) == 1
    assert "a chunk of a stream (+10.0%)" in capsys.readouterr().err


def test_three_percent_more_passes(gate: Gate) -> None:
    gate("--write")
    assert gate(W1=5600 + 17) == 0


def test_what_became_cheaper_passes_and_is_offered_to_be_kept(gate: Gate, capsys) -> None:
    gate("--write")
    assert gate(W1b=2500) == 0
    assert "cheaper than benchmarks/figures.json: a step with a call, without HTTP (-16.7%)" in capsys.readouterr().out


def test_another_python_has_figures_of_its_own(gate: Gate, figures: Path, capsys) -> None:
    gate("--write")
    assert gate(python="CPython 3.13, x86_64", W5=9000) == 0
    assert "has no figures of CPython 3.13, x86_64: nothing is compared" in capsys.readouterr().out
    gate("--write", python="CPython 3.13, x86_64")
    assert list(json.loads(figures.read_text())) == ["CPython 3.11, x86_64", "CPython 3.13, x86_64"]


def test_another_build_of_the_same_python_may_cost_fifteen_percent_more(gate: Gate, capsys) -> None:
    gate("--write")
    assert gate(build="3.11.2, GCC", W4c=4900 + 80) == 0
    assert "of another build (3.11.7, GCC): only what costs over 15% more fails" in capsys.readouterr().out
    assert gate(build="3.11.2, GCC", W4c=4900 + 140) == 1


def test_writing_leaves_no_old_figure(gate: Gate, figures: Path) -> None:
    gate("--write")
    before = figures.read_text()
    gate("--write", W5=9000)
    assert figures.read_text() != before
    assert gate(W5=9000) == 0


def test_a_figure_that_is_missing_is_named(gate: Gate, figures: Path, capsys) -> None:
    gate("--write")
    kept = json.loads(figures.read_text())
    del kept["CPython 3.11, x86_64"]["figures"]["three nested steps"]
    figures.write_text(json.dumps(kept))
    assert gate() == 2
    assert "not the same: three nested steps" in capsys.readouterr().err


def test_a_workload_that_was_not_measured_is_named(gate: Gate, capsys) -> None:
    assert gate(measured={**MEASURED, "ours": {"W1": 1}}) == 2
    assert "nothing was measured for 'W1b'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"CPython 3.11, x86_64": {"build": "", "figures": {"three nested steps": 0}}}']
)
def test_a_file_of_no_figures_is_said_to_be_none(gate: Gate, figures: Path, content: str, capsys) -> None:
    figures.write_text(content)
    assert gate() == 2
    assert str(figures) in capsys.readouterr().err


def test_without_valgrind_it_says_what_to_install(gate: Gate, figures: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(figures.parent))
    assert sys.modules["gate"].main([], path=figures) == 2
    assert "valgrind is missing: install the package `valgrind`" in capsys.readouterr().err


def test_the_committed_figures_are_those_that_are_measured(gate: Gate, figures: Path) -> None:
    gate("--write")
    (names,) = (each["figures"] for each in json.loads(figures.read_text()).values())
    committed = json.loads((BENCHMARKS / "figures.json").read_text(encoding="utf-8"))
    assert committed
    assert [python for python, each in committed.items() if each["figures"].keys() != names.keys()] == []
