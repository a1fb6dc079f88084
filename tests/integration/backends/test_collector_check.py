"""`otel-harn-steps collector-config NAME --check`, with the real Collector; and the configurations in the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile

import pytest

from otel_harn_steps.cli._collector_check import EXPECTED
from tests.integration.backends.programs import COLLECTOR, CONFIGS, ROOT


@pytest.fixture
def command(collector_binary, tmp_path):
    def command(*arguments, program=collector_binary, **settings):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **settings}
        return subprocess.run(
            [sys.executable, "-m", "otel_harn_steps.cli", "collector-config", *arguments, "--collector", program],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return command


@pytest.fixture
def otherwise(collector_binary, tmp_path):
    """The Collector, as a program that has one thing of the configuration otherwise."""

    def otherwise(setting):
        program = tmp_path / "otelcol"
        program.write_text(f'#!/bin/sh\nexec "{collector_binary}" "$@" --config="yaml:{setting}"\n')
        program.chmod(0o755)
        return program

    return otherwise


def marks(ran):
    assert ran.stderr == ""
    return {line[:8].strip() for line in ran.stdout.splitlines()} - {""}


def test_every_configuration_of_the_collector_can_be_checked():
    assert set(EXPECTED) == set(COLLECTOR)


@pytest.mark.parametrize("name", COLLECTOR)
def test_a_step_passes(name, command):
    ran = command(name, "--check")
    assert ran.returncode == 0, ran.stdout
    assert marks(ran) - {"note"} == {"ok"}
    strips = name in ("honeycomb", "redaction")
    assert ("note" in marks(ran)) != strips
    assert bool(re.search(r"ok +none of [\d,]{5,} prompts under \d{3} names in traces, ", ran.stdout)) == (
        name == "redaction"
    )
    assert bool(re.search(r"ok +none of \d{3} secrets leaves", ran.stdout)) == strips


def test_the_settings_of_the_environment_are_tried_but_for_its_addresses_and_secrets(command):
    elsewhere = {"HONEYCOMB_ENDPOINT": "http://192.0.2.1", "HONEYCOMB_API_KEY": "the-real-key"}
    ran = command("honeycomb", "--check", OTLP_GRPC_ENDPOINT="192.0.2.1:1", **elsewhere)
    assert ran.returncode == 0, ran.stdout
    ran = command("tail-sampling", "--check", EXPENSIVE_USD="a lot")
    assert (ran.returncode, marks(ran)) == (1, {"ok", "WRONG"})
    assert 'policy evaluator for "expensive": condition has invalid syntax' in ran.stdout
    assert "\tinfo\t" not in ran.stdout


def test_a_collector_that_takes_nothing_is_wrong(command, otherwise):
    ran = command("gateway", "--check", program=otherwise("extensions::bearertokenauth/apps::tokens: [another]"))
    assert ran.returncode == 1
    assert "WRONG   it does not take a step's span of 0.0625 USD, and its call's: HTTP Error 401" in ran.stdout


def test_prompts_and_secrets_that_arrive_where_they_must_not_are_wrong_and_listed(command, otherwise):
    ran = command("redaction", "--check", program=otherwise("service::pipelines::traces::processors: []"))
    assert ran.returncode == 1
    assert re.search(
        r"WRONG   [\d,]+ of [\d,]+ prompts under \d+ names in traces, logs and metrics would leave:\n", ran.stdout
    )
    assert re.search(r"\n        `\S+` on a link\n", ran.stdout)
    assert re.search(r"\n        and \d+ more\n", ran.stdout)
    assert re.search(r"WRONG   \d+ of \d+ secrets would leave:\n        AWS key id as a label\n", ran.stdout)


@pytest.fixture
def edited(tmp_path):
    """Write a file of the user's own: one of ours, in which something is otherwise."""

    def edited(name, file, *changes):
        text = (CONFIGS / f"{name}.yaml").read_text()
        for ours, other in changes:
            assert ours in text
            text = text.replace(ours, other)
        (tmp_path / file).write_text(text)
        return file

    return edited


def test_a_file_of_ones_own_is_checked_and_one_more_name_that_lets_prompts_pass_is_found(command, edited):
    kept = ("redaction.masked.count|", "redaction.masked.count|pydantic_ai.all_messages|")
    unlooked_at = ("redaction.masked.count]", "redaction.masked.count, pydantic_ai.all_messages]")
    opened = edited("redaction", "mine.yaml", kept, unlooked_at)
    ran = command(opened, "--check")
    assert ran.returncode == 1
    assert "accepts mine.yaml" in ran.stdout
    assert "        `pydantic_ai.all_messages` on a span\n" in ran.stdout


def test_one_more_name_that_the_environment_lets_pass_is_held_to_what_a_name_may_be(command):
    ran = command("redaction", "--check", ALSO_KEEP="pydantic_ai.all_messages|final_result|prompt")
    assert (ran.returncode, marks(ran)) == (0, {"ok"}), ran.stdout


def test_a_file_of_ones_own_says_by_its_name_what_it_was_or_is_told(command, edited):
    edited("honeycomb", "honeycomb.yaml", ("# Step spans", "# Edited: step spans"))
    assert command("honeycomb.yaml", "--check").returncode == 0
    edited("local-jaeger", "ours.yml", ("timeout: 1s", "timeout: 500ms"))
    assert command("ours.yml", "--check").returncode == 1  # taken for redaction.yaml
    ran = command("ours.yml", "--check", "--edited-from", "local-jaeger")
    assert (ran.returncode, marks(ran)) == (0, {"ok", "note"})


def test_a_file_without_metrics_and_logs_is_checked_for_what_it_has(command, edited):
    text = (CONFIGS / "redaction.yaml").read_text()
    logs_and_metrics = text[text.index("    logs:\n      receivers") :]
    ran = command(edited("redaction", "traces.yaml", (logs_and_metrics, "")), "--check")
    assert (ran.returncode, marks(ran)) == (0, {"ok", "note"}), ran.stdout
    assert "note    it takes no metrics" in ran.stdout
    assert re.search(r"ok +none of [\d,]+ prompts under \d+ names in traces leaves", ran.stdout)


def test_a_step_that_does_not_arrive_is_wrong(command, otherwise):
    nowhere = "exporters::otlp_grpc/traces: {endpoint: 127.0.0.1:1, tls: {insecure: true}}"
    ran = command("step-metrics", "--check", program=otherwise(nowhere))
    assert ran.returncode == 1
    assert "WRONG   not seen within 20 s: both arrive" in ran.stdout
    assert "ok      its metrics page has that spend" in ran.stdout


def test_the_collector_of_the_tools_cache_is_found(collector_binary, tool, tmp_path):
    if tool.cache() not in collector_binary.parents:
        pytest.skip("the Collector is on PATH here")
    environment = {
        "PATH": "",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "OTEL_HARN_STEPS_BACKENDS": str(tool.cache()),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "otel_harn_steps.cli", "collector-config", "local-jaeger", "--check"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"ok      {collector_binary} accepts" in ran.stdout


def test_the_wheel_prints_the_configurations_of_this_checkout(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", tmp_path, ROOT],
        check=True, timeout=300,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    program = (
        "import otel_harn_steps, sys; from otel_harn_steps.cli._command import main\n"
        f"assert otel_harn_steps.__file__.startswith({str(tmp_path)!r}), otel_harn_steps.__file__\n"
        "sys.exit(main(['collector-config', *sys.argv[1:]]))\n"
    )
    for name in ("", *(path.stem for path in CONFIGS.iterdir())):
        ran = subprocess.run(
            [sys.executable, "-c", program, *filter(None, [name])],
            cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "installed")}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")
        if name:
            (file,) = CONFIGS.glob(f"{name}.y*ml")
            assert ran.stdout == file.read_text()
        else:
            assert len(ran.stdout.splitlines()) == len(list(CONFIGS.iterdir()))
