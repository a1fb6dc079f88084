"""What `run` keeps, where, and for how long."""

from __future__ import annotations

import os
import stat
import time

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.store import RunFile, Store

PROGRAM = """
from otel_harn_steps import record_llm_usage, step

with step("plan"):
    record_llm_usage("gpt-4o-mini", 1000, 200)
"""


def kept(folder):
    with Store(folder) as store:
        store.update()
        return store.run("last")


def test_a_run_is_kept_and_can_be_read(app, tmp_path):
    app.write("main.py", PROGRAM + "raise SystemExit(3)\n")
    done = app.run("python", "main.py")

    detail = kept(tmp_path / "kept")
    run = detail.run
    assert (run.program, run.status, run.exit_code, run.spend.calls) == ("main.py", "ended", 3, 1)
    assert [step.path for step in detail.steps] == ["plan"]
    assert f"otel-harn-steps show {run.run_id[:8]}" in done.stderr
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "kept").iterdir()} == {0o600}


def test_the_platforms_data_folder_is_where_runs_are_kept(app, tmp_path):
    app.write("main.py", PROGRAM)
    app.run(
        "python",
        "main.py",
        env={"OTEL_HARN_STEPS_RECORDS": "", "XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)},
    )

    assert list(tmp_path.glob("**/otel-harn-steps/records/*.run.json")) != []


def test_a_folder_that_is_named_is_taken_instead(app, tmp_path):
    app.write("main.py", PROGRAM)
    app.run("python", "main.py", options=("--records", "mine"))

    assert kept(app.folder / "mine").run.spend.calls == 1
    assert not (tmp_path / "kept").exists()


def test_no_store_keeps_nothing(app, tmp_path):
    app.write("main.py", PROGRAM)
    done = app.run("python", "main.py", options=("--no-store",))

    assert "plan" in done.stderr
    assert "otel-harn-steps show" not in done.stderr
    assert not (tmp_path / "kept").exists()


def test_a_run_that_its_budget_ended_says_so_where_it_is_kept(app, tmp_path):
    app.write(
        "main.py",
        "from otel_harn_steps import record_llm_usage\nfor _ in range(5):\n    record_llm_usage('gpt-4o-mini', 10, 2)\n",
    )
    done = app.run("python", "main.py", options=("--max-calls", "2"))

    run = kept(tmp_path / "kept").run
    assert done.returncode == 75
    assert (run.limits, run.over) == ({"max_calls": 2}, "max_calls, 3 of 2")


def test_options_that_contradict_each_other_start_nothing(app):
    done = app.run("python", "-c", "print('ran')", options=("--records", "x", "--no-store"))

    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "otel-harn-steps: --records and --no-store: say one of them\n",
    )


def test_a_folder_that_is_a_file_starts_nothing_and_says_what_was_meant(app):
    app.write("records.jsonl", "")
    done = app.run("python", "-c", "print('ran')", options=("--records", "records.jsonl"))

    assert (done.returncode, done.stdout) == (2, "")
    assert "is a file, and not a folder; --step-records FILE writes the record of each step to a file" in done.stderr


def test_without_a_folder_that_was_not_named_the_program_runs(app, tmp_path):
    app.write("main.py", PROGRAM)
    (tmp_path / "file").write_text("")
    done = app.run("python", "main.py", env={"OTEL_HARN_STEPS_RECORDS": str(tmp_path / "file" / "x")})

    assert done.returncode == 0
    assert "the run is not kept" in done.stderr
    assert "plan" in done.stderr


def old_run(folder):
    folder.mkdir(exist_ok=True)
    RunFile(run_id="old", name="old", program="old", started_at=1, ended_at=2).write(folder)
    at = time.time() - 100 * 86_400
    os.utime(folder / "old.run.json", (at, at))
    return folder / "old.run.json"


def test_runs_that_are_too_old_are_removed_from_the_default_folder(app, tmp_path):
    app.write("main.py", PROGRAM)
    old = old_run(tmp_path / "kept")
    app.run("python", "main.py")

    assert not old.exists()


def test_nothing_is_removed_from_a_folder_that_was_named_unless_the_file_says_so(app):
    app.write("main.py", PROGRAM)
    old = old_run(app.folder / "mine")
    app.run("python", "main.py", options=("--records", "mine"))
    assert old.exists()

    app.write("harn-steps.toml", "[records]\nkeep_days = 30\n")
    app.run("python", "main.py", options=("--records", "mine"))
    assert not old.exists()
