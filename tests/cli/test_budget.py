"""`otel-harn-steps budget`: budgets that are suggested, and budgets of a file that are tried on what was spent."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.cli._command import main
from otel_harn_steps.config._loading import load
from tests.cli.stores import Written


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """Four runs of a program. Each enters `plan`, with a search in it; the last one searches for ever."""
    folder = tmp_path / "records"
    monkeypatch.setenv("OTEL_HARN_STEPS_RECORDS", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    for n, searches in enumerate((1, 2, 2, 9)):
        run = Written(folder, run_id=f"{n}" * 16, began_s=1_795_000_000 + n * 1000)
        run.start("plan")
        run.start("plan/search", 1)
        run.call("plan", 0.1, 0.01)
        for at in range(searches):
            run.call("plan/search", 1 + at, 0.1)
        run.end("plan/search", 20)
        run.end("plan", 21)
        run.finish()
    return folder


def test_a_budget_is_suggested_for_each_step_as_a_file(capsys):
    assert main(["budget", "suggest"]) == 0
    assert (
        capsys.readouterr().out
        == """\
  step    runs      p50      p95      p99     most  max_usd  stops  saves
  plan       4  $0.2100  $0.9100  $0.9100  $0.9100  $0.9100    0 %     $0
  search     4  $0.2000  $0.9000  $0.9000  $0.9000  $0.9000    0 %     $0
  a run: p50 $0.2100, p95 $0.9100, most $0.9100; otel-harn-steps run --max-usd
    0.91 --max-calls 10 stops 0 % of 4, saves $0
  fewer than 20 runs of plan, search: wait for more

frameworks = "auto"  # whose steps have no target

# plan: 4 runs, p50 $0.2100, p95 $0.9100, p99 $0.9100, most $0.9100
# stops 0 % of them, saves $0 of $1.44
# few runs: the most expensive one decides
[[steps]]
name = "plan"
scope = "tree"
budget = { max_usd = 0.91, max_calls = 10 }

# search: 4 runs, p50 $0.2000, p95 $0.9000, p99 $0.9000, most $0.9000
# stops 0 % of them, saves $0 of $1.40
# few runs: the most expensive one decides
[[steps]]
name = "search"
scope = "tree"
budget = { max_usd = 0.9, max_calls = 9 }
"""
    )


def test_the_suggested_file_stops_what_it_says_when_it_is_tested(tmp_path, capsys):
    assert main(["budget", "suggest", "search", "--stop", "25%", "--json"]) == 0
    (suggested,) = json.loads(capsys.readouterr().out)["suggestions"]
    assert (suggested["limits"], suggested["stopped"], suggested["saved_usd"]) == (
        {"max_usd": 0.2, "max_calls": 2},
        1,
        0.7,
    )
    assert main(["budget", "suggest", "search", "--stop", "25%", "--toml"]) == 0
    file = tmp_path / "harn-steps.toml"
    file.write_text(capsys.readouterr().out)
    assert load(file).problems == ()
    assert main(["budget", "test", str(file), "--json", "--fail"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["stopped_runs"], found["saved_usd"], [stop["run_id"] for stop in found["stops"]]) == (
        1,
        0.7,
        ["3" * 16],
    )


def test_a_file_that_names_the_functions_gives_the_targets(tmp_path, capsys):
    (tmp_path / "harn-steps.toml").write_text('[[steps]]\ntarget = "app:search"\n')
    assert main(["budget", "suggest", "search", "--toml", "--config", str(tmp_path / "harn-steps.toml")]) == 0
    said = capsys.readouterr().out
    assert 'target = "app:search"\nname = "search"' in said
    assert "frameworks" not in said


FILE = """
[[steps]]
target = "app:plan"
scope = "tree"
budget = { max_usd = 0.5, preflight = "exhausted", loop = 3 }
[[steps]]
target = "app:unused"
budget = { max_calls = 1 }
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harn-steps.toml").write_text(FILE)
    return "harn-steps.toml"


def test_the_budgets_of_a_file_say_what_they_would_have_stopped_and_where(file, capsys):
    assert main(["budget", "test", file]) == 0
    title, *rest = capsys.readouterr().out.splitlines()
    assert " ".join(title.split()) == "harn-steps.toml: stops 1 run of 4 saves $0.4000 of $1.44"
    assert [line.split() for line in rest[:3]] == [
        ["budget", "of", "limits", "runs", "spent", "stops", "saves"],
        ["plan", "max_usd", "0.5,", "loop", "3", "4", "$1.44", "1", "$0.4000"],
        ["unused", "max_calls", "1", "0", "$0", "0", "$0"],
    ]
    text = " ".join(" ".join(rest[3:]).split())
    assert text.startswith("run 33333333, plan, 2026-11-")
    assert "max_usd $0.5000 after 6 calls and $0.5100, saves 4 calls and $0.4000" in text
    assert "no run here of unused (harn-steps.toml:6)" in text
    assert "loop is not replayed: the ledger has no requests and answers" in text
    assert max(map(len, rest)) <= 80


def test_a_period_keeps_the_steps_that_began_before_it(file, capsys):
    began = 1_795_000_000 + 3000
    assert (
        main(
            [
                "budget",
                "test",
                file,
                "--since",
                datetime.fromtimestamp(began - 600, UTC).isoformat(),
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["runs"] == 1


def test_budgets_of_labels_are_not_replayed_which_is_said(capsys, tmp_path):
    file = tmp_path / "harn-steps.toml"
    of_a_label = '[budgets.tenants]\nkey = "tenant"\nmax_usd = 0.01\n'
    file.write_text(f'frameworks = "auto"\n[[steps]]\nname = "search"\nbudget = {{ max_usd = 0.5 }}\n{of_a_label}')
    assert main(["budget", "test", str(file), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "otel-harn-steps: budgets of labels are not replayed: tenants\n"
    assert {stop["name"] for stop in json.loads(out)["stops"]} == {"search"}
    file.write_text(of_a_label)
    assert main(["budget", "test", str(file)]) == 2
    assert "there is no budget of a step or an agent in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[steps]]\nname = 3\n", "harn-steps.toml:2: steps[0].name"),
        ('[[steps]]\ntarget = "app:plan"\n', "there is no budget of a step or an agent in it"),
    ],
)
def test_a_file_without_budgets_or_with_mistakes_is_a_usage_error(file, tmp_path, capsys, text, said):
    (tmp_path / file).write_text(text)
    assert main(["budget", "test", file]) == 2
    assert said in capsys.readouterr().err


def test_wrong_values_and_files_that_are_not_there_are_usage_errors(capsys):
    assert main(["budget", "suggest", "--stop", "few"]) == 2
    assert "--stop must be a share of the runs below 100%, such as 1%, not 'few'" in capsys.readouterr().err
    assert main(["budget", "test", "none.toml"]) == 2
    assert "none.toml: cannot be read" in capsys.readouterr().err


def test_nothing_spent_is_said(capsys):
    assert main(["budget", "suggest", "unknown*"]) == 0
    assert capsys.readouterr().out.startswith("no step has spent anything here\n  a run: p50")
