"""`otel-harn-steps watch`: what is spent in a sliding window, and a command for each time that it becomes too much."""

from __future__ import annotations

import json
import sys
import time

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.cli._command import main
from tests.cli.stores import Written

EVIL = "plan$(touch hacked); `touch hacked`\n\x1b"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "records"
    monkeypatch.setenv("OTEL_HARN_STEPS_RECORDS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(folder):
    """A run that began a minute ago, and spends 1 dollar in a step."""
    run = Written(folder)
    run.call("x", 0, 1.0, step=EVIL)
    return run


def watch(*arguments, limit="0.5"):
    return main(["watch", "--max-usd-per-hour", limit, *arguments])


def noting(tmp_path):
    """A command that adds its facts to a file."""
    program = tmp_path / "note.py"
    program.write_text(
        "import json, os\n"
        "facts = {name[22:]: value for name, value in os.environ.items() if name.startswith('OTEL_HARN_STEPS_WATCH_')}\n"
        "print(json.dumps(facts), file=open('noted', 'a'))\n"
    )
    return f"{sys.executable} {program}"


def noted(tmp_path):
    file = tmp_path / "noted"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_too_much_is_exit_code_1_and_said(run, capsys):
    run.call("x", 1, step=EVIL, cost_picousd=None)
    run.call("x", 2, step=EVIL, cost_picousd=None, estimated_cost_picousd=10**11)
    run.call("x", 3, is_open=True)
    assert watch("--once") == 1
    said = capsys.readouterr().out
    assert said.startswith("over the limit: $1.10 of $0.5000 in 60 min, 3 calls; most in plan$(touch")
    assert said.endswith(
        "($1.10); ~ $0.1000 of it is estimated; ? 1 call of unknown cost, which no number here holds; … 1 call in flight\n"
    )
    assert watch("--once", limit="1.1") == 0
    assert capsys.readouterr().out.startswith("within the limit: $1.10 of $1.10")


def test_the_window_slides_and_the_limit_is_an_hours(folder, capsys):
    Written(folder, began_s=time.time() - 1800).call("plan", 0, 1.0)
    assert watch("--once", "--window", "10m", "--json") == 0
    assert json.loads(capsys.readouterr().out)["spent_usd"] == 0.0
    assert watch("--once", "--window", "1d", "--json", limit="0.05") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["limit_usd"], found["spent_usd"], found["is_over"]) == (1.2, 1.0, False)


def test_the_options_that_say_which_calls_hold(run, capsys):
    assert watch("--once", "--step", "other*") == 0
    assert capsys.readouterr().out == "within the limit: $0 of $0.5000 in 60 min, 0 calls\n"


def test_without_once_and_without_a_command_it_ends_at_the_crossing(run, capsys):
    assert watch() == 1
    assert capsys.readouterr().out.startswith("over the limit")


def test_the_command_runs_once_for_each_crossing_also_where_each_look_is_a_process(run, tmp_path):
    command = noting(tmp_path)
    assert [watch("--once", "--exec", command) for _ in range(3)] == [1, 1, 1]
    assert len(noted(tmp_path)) == 1
    assert watch("--once", "--exec", command, limit="9") == 0  # another watch, which has seen nothing
    assert watch("--once", "--exec", command) == 1
    assert len(noted(tmp_path)) == 1


def test_a_second_crossing_runs_it_again(folder, tmp_path):
    run = Written(folder)
    command = noting(tmp_path)
    run.call("plan", 0, 0.1)
    assert watch("--once", "--exec", command) == 0
    run.call("plan", 1, 1.0)
    assert watch("--once", "--exec", command) == 1
    (memory,) = folder.glob("watch-*.over")
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.unlink()  # as a look within the limit does
    assert watch("--once", "--exec", command) == 1
    assert len(noted(tmp_path)) == 2


def test_the_facts_are_in_the_environment_and_names_are_nobodys_code(run, tmp_path):
    assert watch("--once", "--exec", noting(tmp_path)) == 1
    (facts,) = noted(tmp_path)
    assert not (tmp_path / "hacked").exists()
    assert facts.pop("MESSAGE").startswith("over the limit: $1.00 of $0.5000")
    assert facts == {
        "SPENT_USD": "1", "LIMIT_USD": "0.5", "ESTIMATED_USD": "0", "WINDOW_SECONDS": "3600", "CALLS": "1", "UNKNOWN_CALLS": "0",
        "TOP_STEP": "plan$(touch hacked); `touch hacked`\\n\\x1b", "TOP_STEP_USD": "1",
    }  # fmt: skip


def test_a_command_that_cannot_be_started_is_tried_again(run, tmp_path, capsys):
    assert [watch("--once", "--exec", "no-such-command") for _ in range(2)] == [2, 2]
    assert "no-such-command" in capsys.readouterr().err
    assert watch("--once", "--exec", f"{sys.executable} -c 'exit(3)'") == 1
    assert "has ended with 3" in capsys.readouterr().err


def test_it_goes_on_with_a_command_and_ends_at_ctrl_c(folder, tmp_path, monkeypatch, capsys):
    run = Written(folder)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 4:
            raise KeyboardInterrupt
        run.call("plan", len(looks), 0.3)

    monkeypatch.setattr(time, "sleep", sleep)
    assert watch("--interval", "0.05", "--exec", noting(tmp_path)) == 0
    assert looks == [0.05] * 4
    assert [facts["SPENT_USD"] for facts in noted(tmp_path)] == ["0.6"]  # not again at 0.9
    assert capsys.readouterr().out.count("over the limit") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--max-usd-per-hour", "much"],
            "--max-usd-per-hour must be a number of US dollars, 0 or more, such as 2, not 'much'",
        ),
        (
            ["--max-usd-per-hour", "2", "--window", "soon"],
            "--window must be a period such as 10m, 1h or 1d, not 'soon'",
        ),
        (["--max-usd-per-hour", "2", "--interval", "0"], "--interval must be a number of seconds above 0, not '0'"),
        (["--max-usd-per-hour", "2", "--exec", "'"], "No closing quotation"),
        (["--max-usd-per-hour", "2", "--exec", ""], "--exec must be a command"),
    ],
)
def test_a_wrong_value_is_a_usage_error(capsys, arguments, said):
    assert main(["watch", "--once", *arguments]) == 2
    assert said in capsys.readouterr().err
