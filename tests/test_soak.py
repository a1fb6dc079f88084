"""The short form of `make test-soak`: what counts is right with faults of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_ledger_adds_up_under_faults_of_every_kind():
    command = [sys.executable, "-m", "tests.soak", "--seconds", "6", "--processes", "2", "--threads", "4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
