"""Forks and pools: what all processes export adds up to what they have spent, and they end as without us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from tests.instrument.worker_app import COST_USD, FILE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Exported:
    """What the processes of an app have exported, and its ledger."""

    file: Path

    def lines(self, kind: str) -> list[tuple[int, Any]]:
        """Process and value of each line of a kind, in order."""
        found = map(json.loads, self.file.read_text().splitlines())
        return [(each["process"], each["value"]) for each in found if each["kind"] == kind]

    def count(self, kind: str) -> int:
        return len(self.lines(kind))

    def counted(self, metric: str) -> float:
        """A counter's last value of each process, added up: as a backend does it by `service.instance.id`."""
        last = dict(self.lines("metrics"))
        return sum(each.get(metric, 0) for each in last.values())

    def steps(self) -> int:
        """The steps in the ledger."""
        return len(Path(f"{self.file}.ledger").read_text().splitlines())

    def adds_up_to(self, steps: int) -> None:
        """Ledger, spans, log events and counters of all processes say so many steps, each of one call."""
        assert self.steps() == steps
        assert (self.count("span"), self.count("event")) == (steps, steps)
        assert self.counted("harn.step.llm_calls") == self.counted("harn.calls") == steps
        assert self.counted("harn.step.cost") == self.counted("harn.call.cost") == steps * COST_USD


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return Exported(tmp_path / "exported")


def environment(exported: Exported, **more: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), FILE: str(exported.file), **more}


def run(exported: Exported, how: str, method: str = "fork") -> str:
    """What the app prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.instrument.worker_app", how, method],
        env=environment(exported), capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("how", ["pool", "executor", "process"])
def test_what_workers_export_is_the_ledger(exported: Exported, how: str, method: str) -> None:
    assert run(exported, how, method) == "28"
    exported.adds_up_to(9)


def test_a_fork_by_hand_exports_its_own_spend_and_not_its_parents(exported: Exported) -> None:
    assert run(exported, "forked") == "28"
    exported.adds_up_to(2)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_is_terminated_has_exported_and_ends_by_the_signal(exported: Exported, method: str) -> None:
    assert run(exported, "terminated", method) == str(-signal.SIGTERM)
    exported.adds_up_to(2)


def test_a_workers_own_handler_of_the_signal_is_the_one_that_is_called(exported: Exported) -> None:
    assert run(exported, "handling") == "7"
    assert exported.count("span") == 1  # the parent's: what the handler ends by is the app's


# -- programs of others ------------------------------------------------------------------------------------------------


@contextmanager
def started(exported: Exported, *command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this environment until it has ended by SIGTERM."""
    script = Path(sys.executable).with_name(command[0])
    if not script.exists():
        pytest.skip(f"{command[0]} is not installed")
    log = exported.file.with_suffix(".log")
    with log.open("wb") as out, subprocess.Popen((script, *command[1:]), stdout=out, stderr=out, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def test_gunicorns_workers_of_an_app_that_is_loaded_before_the_fork_export_the_ledger(exported: Exported) -> None:
    command = ("gunicorn", "--preload", "--workers", "2", "tests.instrument.worker_app:wsgi")
    with closing(socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.set_inheritable(True)
        bound = ("--bind", f"fd://{listener.fileno()}")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with started(exported, *command, *bound, env=environment(exported), cwd=ROOT, close_fds=False):
            for _ in range(8):
                urllib.request.urlopen(url, timeout=TIMEOUT_S).close()
    exported.adds_up_to(8)


def test_celerys_forked_workers_export_the_ledger(exported: Exported, tmp_path: Path) -> None:
    celery = pytest.importorskip("celery")
    for name in ("tasks", "results"):
        (tmp_path / name).mkdir()
    env = environment(exported, CELERY_FOLDER=str(tmp_path))
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    command = ("celery", "-A", "tests.instrument.celery_app", "worker", "--concurrency", "2", *quiet)
    app = celery.Celery("test", broker="filesystem://", backend=f"file://{tmp_path}/results", set_as_current=False)
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), f"{tmp_path}/tasks")
    app.conf.broker_transport_options = {**folders, "control_folder": f"{tmp_path}/control"}
    with started(exported, *command, env=env, cwd=ROOT):
        asked = [app.send_task("tests.instrument.celery_app.work", (number,)) for number in range(8)]
        assert sum(each.get(timeout=TIMEOUT_S) for each in asked) == 28
    exported.adds_up_to(8)
