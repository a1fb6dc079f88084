"""docs/performance.md and its plot are what benchmarks/field.json says. Nothing is measured here."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
ROWS = json.loads((ROOT / "benchmarks" / "field.json").read_text(encoding="utf-8"))
needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the group `bench`")


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import field

    yield field
    sys.modules.pop("field_plot", None)
    del sys.modules["field"]


def cells_of(field: ModuleType, rows: dict, title: str) -> list[str]:
    (line,) = [line for line in field.table(rows).splitlines() if line.strip("|* ").startswith(title)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_what_the_results_say(field: ModuleType) -> None:
    assert field.main(["--check", "--no-plot"]) == 0


@needs_matplotlib
def test_the_plot_is_what_the_results_say(field: ModuleType) -> None:
    assert field.main(["--check"]) == 0


def test_a_page_that_is_not_what_the_results_say_is_named(
    field: ModuleType, tmp_path: Path, monkeypatch, capsys
) -> None:
    old = tmp_path / "performance.md"
    old.write_text(re.sub(r"\| [\d,]+ \(", "| 1 (", PAGE.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    monkeypatch.setattr(field, "PAGE", old)
    assert field.main(["--check", "--no-plot"]) == 1
    assert "performance.md" in capsys.readouterr().err


def test_every_contender_has_a_row_with_its_versions() -> None:
    assert {name for name, row in ROWS.items() if row["versions"]} == set(ROWS)
    assert len(ROWS) == 12


def test_spans_by_hand_are_the_unit(field: ModuleType) -> None:
    assert [cell[-6:] for cell in cells_of(field, ROWS, "spans by hand")[4:]] == ["(1.00)"] * len(field.COLUMNS)


def test_what_does_not_work_is_shown_last_with_its_error(field: ModuleType) -> None:
    rows = copy.deepcopy(ROWS)
    rows["openlit"] = {**rows["openlit"], "error": "ImportError: no such thing", "over_bare": {}}
    del rows["openlit"]["steps"]
    assert cells_of(field, rows, "OpenLIT")[3:] == ["-", *["fails"] * len(field.COLUMNS)]
    assert field.in_order(rows)[-1] == "openlit"
    assert "- OpenLIT: `ImportError: no such thing`" in field.table(rows)


def test_a_workload_that_fails_alone_leaves_the_others(field: ModuleType) -> None:
    rows = copy.deepcopy(ROWS)
    del rows["openlit"]["over_bare"]["W5"]
    cells = cells_of(field, rows, "OpenLIT")
    assert (cells[-1], cells.count("fails")) == ("fails", 1)


def test_rows_of_another_day_say_so(field: ModuleType) -> None:
    rows = copy.deepcopy(ROWS)
    rows["ours"]["measured"] = "2031-01-02"
    assert re.search(r"^Measured on 2031-01-02 .*: otel-harn-steps\.$", field.table(rows), re.MULTILINE)


def test_measuring_again_keeps_the_other_rows(field: ModuleType, tmp_path: Path, monkeypatch) -> None:
    results, page, asked = tmp_path / "field.json", tmp_path / "performance.md", []
    results.write_text(json.dumps(ROWS), encoding="utf-8")
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")

    def measure(names: list[str], venvs: str) -> dict:
        asked.extend(names)
        return {"ours": {**ROWS["ours"], "over_bare": dict.fromkeys(field.LOADS, 1.0)}}

    monkeypatch.setattr(field, "RESULTS", results)
    monkeypatch.setattr(field, "PAGE", page)
    monkeypatch.setattr(field, "PLOT", tmp_path / "performance.svg")
    monkeypatch.setattr(field, "measure", measure)
    monkeypatch.setitem(sys.modules, "field_plot", ModuleType("field_plot"))
    sys.modules["field_plot"].plot = lambda rows: "<svg/>"
    assert field.main(["--again", "ours"]) == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert asked == ["ours"]
    assert written["ours"]["over_bare"]["W1"] == 1.0
    assert {name: row for name, row in written.items() if name != "ours"} == {
        name: row for name, row in ROWS.items() if name != "ours"
    }
    assert field.page_with(written, page.read_text(encoding="utf-8")) == page.read_text(encoding="utf-8")


def test_a_contender_that_there_is_not_is_a_usage_error(field: ModuleType, capsys) -> None:
    with pytest.raises(SystemExit):
        field.main(["--again", "nobody"])
    assert "no contender nobody; there are otel_floor, ours" in capsys.readouterr().err


def test_the_commands_of_the_page_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    typed = re.findall(r"^make ([\w-]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert typed == ["bench-all", "bench-gate", "bench-figures"]
    assert set(typed) <= set(targets)


def test_ci_runs_the_gate() -> None:
    assert re.search(r"^stages=\([^)]*\bbench-gate\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
