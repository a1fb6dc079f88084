"""The tests next to this one, each in the environment of its framework."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from otel_harn_steps.frameworks import FRAMEWORKS
from tests.integration.coexistence.venvs import python_of

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.mark.parametrize("environment", [*FRAMEWORKS, "openai-agents-oldest", "langgraph-oldest"])
def test_what_the_framework_runs_is_made_into_steps_that_are_told_what_is_left(environment):
    python = python_of(environment, HERE / "environments")
    name = environment.removesuffix("-oldest").replace("-", "_")
    files = HERE / f"test_{name}.py", HERE / f"test_telling_{name}.py"
    options = ("-q", "-W", "ignore", "-p", "no:cacheprovider", f"--confcutdir={HERE}")

    done = subprocess.run(
        [python, "-m", "pytest", *options, *files],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout
