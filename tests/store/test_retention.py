"""How long runs are kept."""

from __future__ import annotations

import os
import time

from otel_harn_steps.store._retention import remove_old_runs

DAY_S = 86_400


def run_of(folder, name, age_days, size=1000):
    for file in (f"{name}-12-0badcafe.jsonl", f"{name}-13-0badcafe.jsonl", f"{name}.run.json"):
        path = folder / file
        path.write_bytes(b"x" * size)
        at = time.time() - age_days * DAY_S
        os.utime(path, (at, at))


def names(folder):
    return sorted({each.name.split("-")[0].split(".")[0] for each in folder.iterdir()})


def test_runs_go_whole_when_they_are_too_old(tmp_path):
    run_of(tmp_path, "old", 100)
    run_of(tmp_path, "young", 10)

    assert remove_old_runs(tmp_path, keep_days=90) == ["old"]
    assert names(tmp_path) == ["young"]


def test_a_run_whose_last_file_is_young_stays(tmp_path):
    run_of(tmp_path, "long", 100)
    os.utime(tmp_path / "long-13-0badcafe.jsonl")

    assert remove_old_runs(tmp_path, keep_days=90) == []
    assert len(list(tmp_path.iterdir())) == 3


def test_the_oldest_go_where_all_take_too_much_room(tmp_path):
    for age in (5, 4, 3, 2):
        run_of(tmp_path, f"run{age}", age, size=2**20)

    remove_old_runs(tmp_path, keep_mib=7)
    assert names(tmp_path) == ["run2", "run3"]


def test_what_may_be_at_work_and_what_is_nobodys_business_stays(tmp_path):
    run_of(tmp_path, "busy", 0, size=2**20)
    for other in ("index.sqlite", "notes.jsonl", "mine-x-y.jsonl", ".hidden.run.json"):
        (tmp_path / other).write_text("x")
        os.utime(tmp_path / other, (1, 1))

    assert remove_old_runs(tmp_path, keep_days=1, keep_mib=0.001) == []
    assert len(list(tmp_path.iterdir())) == 7
