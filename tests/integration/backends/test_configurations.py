"""Each configuration is what the real programs accept, and says how it is used."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.integration.backends.programs import COLLECTOR, CONFIGS

SECRETS = {"HONEYCOMB_API_KEY": "not-a-key", "INGEST_TOKEN": "not-a-token"}


def block(text: str, start: str) -> str:
    """The lines of a YAML block, from the line `start` to the next one that is not deeper."""
    lines = text.splitlines()
    first = lines.index(start)
    depth = len(start) - len(start.lstrip())
    body = []
    for line in lines[first + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        body.append(line)
    return "\n".join([start, *body]).strip()


@pytest.mark.parametrize("name", COLLECTOR)
def test_the_collector_accepts(name, collector_binary):
    ran = subprocess.run(
        [collector_binary, "validate", f"--config={CONFIGS / name}.yaml"],
        env=SECRETS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_every_configuration_is_tested():
    files = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert files == {*COLLECTOR, "jaeger", "prometheus", "compose"}


def test_promtool_accepts_the_prometheus_configuration_and_its_rules_do_what_they_say(prometheus_binary):
    for command in (["check", "config", "prometheus.yaml"], ["test", "rules", "rules_test.yml"]):
        ran = subprocess.run(
            [prometheus_binary.with_name("promtool"), *command],
            cwd=CONFIGS,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "SUCCESS" in ran.stdout


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_header_names_every_setting_and_how_to_start(path):
    text = path.read_text()
    header = "".join(
        line for line in text.splitlines(keepends=True)[: text.splitlines().index("")] if line.startswith("#")
    )
    header += "".join(re.findall(r"^# .*\n", text, re.MULTILINE))
    assert re.search(r"^# Start:  ", header, re.MULTILINE)
    assert re.search(r"^# Set:    ", header, re.MULTILINE)
    for_tests = {"RETRY_INTERVAL", "RETRY_MAX_INTERVAL", "BATCH_TIMEOUT"}
    for setting in set(re.findall(r"\$\{env:([A-Z0-9_]+)", text)) - for_tests:
        assert setting in header, f"{path.name} does not explain {setting}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.y*ml")), ids=lambda path: path.name)
def test_secrets_come_from_the_environment(path):
    for line in path.read_text().splitlines():
        if re.search(r"(x-honeycomb-team|tokens?):", line) and not line.startswith("#"):
            assert "${env:" in line


@pytest.mark.parametrize(
    "start",
    [
        "  signal_to_metrics:",
        "  transform/labels:",
        "  deltatocumulative:",
        "  filter/derived_metrics:",
        "  filter/app_metrics:",
    ],
)
def test_metrics_before_sampling_are_those_without_sampling(start):
    plain, sampled = ((CONFIGS / f"{name}.yaml").read_text() for name in ("step-metrics", "tail-sampling"))
    assert block(plain, start) == block(sampled, start)
