"""`otel-harn-steps collector-config`: what it prints. What `--check` finds is in tests/integration/backends/test_collector_check.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parent.parent.parent / "collector-config"
FILES = {path.stem: path for path in CONFIGS.iterdir()}


@pytest.fixture
def command(app):
    # Nothing of the machine's: no Collector that is installed or cached here.
    app.environment.update(PATH=str(app.folder), OTEL_HARN_STEPS_BACKENDS=str(app.folder / "cache"))

    def command(*arguments):
        return app.call(sys.executable, "-m", "otel_harn_steps.cli", "collector-config", *arguments)

    return command


@pytest.mark.parametrize("name", FILES)
def test_a_configuration_is_printed_as_it_is(name, command):
    ran = command(name)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, FILES[name].read_text(), "")


def test_the_commands_in_their_heads_start_the_program_by_the_name_that_its_release_has():
    started = [
        line
        for path in FILES.values()
        for line in path.read_text().splitlines()
        if "otelcol" in line and "--config=collector-config" in line
    ]
    assert len(started) >= 7
    assert [line for line in started if "otelcol-contrib --config=" not in line] == []


@pytest.mark.parametrize("name", ["gateway.yaml", "rules.yml", "collector-config/gateway.yaml"])
def test_the_name_of_the_file_will_do(name, command):
    assert command(name).stdout == FILES[Path(name).stem].read_text()


def test_without_a_name_all_are_listed_with_what_they_are_for(command):
    ran = command()
    assert (ran.returncode, ran.stderr) == (0, "")
    listed = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())
    assert listed.keys() == FILES.keys()
    assert listed["honeycomb"] == "Step spans and step metrics to Honeycomb, in the US or the EU"
    assert all(len(text) <= 100 for text in listed.values())


def test_a_wrong_name_is_told_with_the_one_that_was_meant(command):
    ran = command("step-metric")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == ("otel-harn-steps: there is no configuration 'step-metric'; did you mean 'step-metrics'?\n")


def test_a_name_like_no_other_is_told_with_all_that_there_are(command):
    ran = command("elasticsearch")
    assert ran.returncode == 2
    assert "there is no configuration 'elasticsearch'; there are " in ran.stderr
    assert all(name in ran.stderr for name in FILES)


def test_a_check_without_a_collector_says_where_it_looked_and_what_to_do(command, app):
    ran = command("redaction", "--check")
    assert (ran.returncode, ran.stdout) == (1, "")
    for part in (
        "otelcol-steps, otelcol-contrib, otelcol",
        str(app.folder / "cache"),
        "otelcol-contrib, 0.161",
        "--collector",
    ):
        assert part in ran.stderr


def test_a_check_with_a_collector_that_is_not_there_says_so(command):
    ran = command("redaction", "--check", "--collector", "/nowhere/otelcol")
    assert (ran.returncode, ran.stderr) == (1, "otel-harn-steps: /nowhere/otelcol is not a program that can be run\n")


@pytest.mark.parametrize("name", ["jaeger", "prometheus", "rules", "compose"])
def test_what_is_not_for_the_collector_cannot_be_checked(name, command):
    ran = command(name, "--check")
    assert ran.returncode == 2
    assert f"{name} is not for the Collector" in ran.stderr


def test_a_check_wants_a_name(command):
    ran = command("--check")
    assert ran.returncode == 2
    assert "say which configuration to check" in ran.stderr


@pytest.mark.parametrize("place", ["PATH", "cache"])
def test_a_collector_that_does_not_accept_the_configuration_is_told_in_its_own_words(place, command, app):
    program = app.folder / ("otelcol" if place == "PATH" else "cache/otelcol-0.161.0-abc/otelcol-steps")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text('#!/bin/sh\necho "unknown type: \\"redaction\\"" >&2\nexit 1\n')
    program.chmod(0o755)
    ran = command("redaction", "--check")
    assert (ran.returncode, ran.stdout) == (
        1,
        f'WRONG   {program} does not accept redaction.yaml: unknown type: "redaction"\n',
    )
