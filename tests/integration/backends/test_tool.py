"""The tool that gets the programs says how to get what is missing, and breaks nothing when it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.backends.programs import ROOT

TOOL = ROOT / "tools" / "backends.py"


def run(*arguments, cache, path=""):
    environment = {"PATH": str(path), "HOME": str(cache), "OTEL_HARN_STEPS_BACKENDS": str(cache)}
    return subprocess.run(
        [sys.executable, TOOL, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("collector", "Go 1.26"),
        ("jaeger", "Go 1.26"),
        ("victoriametrics", "Go 1.26"),
        ("prometheus", "install Prometheus"),
        ("valgrind", "apt-get install --no-install-recommends valgrind"),
    ],
)
def test_what_cannot_be_had_is_said_with_what_it_needs(name, advice, tmp_path):
    ran = run(name, cache=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"{name} cannot be had: ")
    assert advice in ran.stderr


def test_a_program_on_the_path_is_taken_if_it_is_the_right_one(tmp_path):
    jaeger = tmp_path / "jaeger"
    jaeger.write_text('#!/bin/sh\necho "Usage: jaeger --config FILE"\n')
    jaeger.chmod(0o755)
    old = tmp_path / "otelcol"
    old.write_text("#!/bin/sh\necho otelcol version 0.90.0\n")
    old.chmod(0o755)
    assert run("jaeger", cache=tmp_path / "cache", path=tmp_path).stdout == f"{jaeger}\n"
    assert run("collector", cache=tmp_path / "cache", path=tmp_path).stdout == ""


def test_a_cached_program_is_found_without_a_build(tool, tmp_path):
    kept = tmp_path / tool.PROGRAMS["collector"].key() / "otelcol-steps"
    kept.parent.mkdir()
    kept.touch()
    assert run("collector", cache=tmp_path).stdout == f"{kept}\n"


@pytest.mark.parametrize("arguments", [(), ("nope",), ("all", "nope")])
def test_a_program_that_it_does_not_know_is_a_usage_error(arguments, tmp_path):
    ran = run(*arguments, cache=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "collector|jaeger|prometheus|victoriametrics|phoenix|chromium|axe|valgrind|all" in ran.stderr
