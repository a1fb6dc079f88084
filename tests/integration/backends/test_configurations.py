"""Each configuration is what the real programs accept, and says how it is used."""

from __future__ import annotations

import re
import subprocess

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._steps.budget import LIMITS
from otel_harn_steps._steps.errors import ended_detail, loop_detail
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
    assert files == {*COLLECTOR, "jaeger", "prometheus"}


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


def kept_by_redaction(kind: str) -> list[re.Pattern[str]]:
    found = re.findall(rf'keep_matching_keys\({kind}\.attributes, "(.*?)"\)', (CONFIGS / "redaction.yaml").read_text())
    return [re.compile(each.replace("\\\\", "\\")) for each in found]


# What the app itself says of a step may be anything, also a prompt.
TEXT_OF_THE_APP = ["harn.step.detail"]


def test_redaction_lets_every_name_of_ours_pass_but_the_apps_own_text():
    names = pytest.importorskip("otel_harn_steps._telemetry.names")
    (pattern,) = kept_by_redaction("span")
    assert [each.name for each in names.ATTRIBUTES if not pattern.match(each.name)] == TEXT_OF_THE_APP


def test_redaction_lets_every_field_of_a_record_pass_but_the_free_text_in_it():
    dataclasses = pytest.importorskip("dataclasses")
    records = pytest.importorskip("otel_harn_steps._telemetry.record")
    pattern = kept_by_redaction("log")[0]
    assert [each.name for each in dataclasses.fields(records.CompletedStep) if not pattern.match(each.name)] == [
        "error",
        "labels",
        "detail",
    ]


def kept_sentences() -> re.Pattern[str]:
    (pattern,) = re.findall(
        r'set\(span.status.message, ""\) where not IsMatch\(span.status.message, "(.*?)"\)',
        (CONFIGS / "redaction.yaml").read_text(),
    )
    return re.compile(pattern.replace("\\\\", "\\"))


@pytest.mark.parametrize("sentence", [loop_detail("draft", 3), ended_detail("nightly", "max_usd")])
def test_redaction_lets_our_other_sentences_about_a_budget_pass(sentence):
    assert kept_sentences().search(sentence)


@pytest.mark.parametrize("budget_of", ["step", "run", "agent"])
@pytest.mark.parametrize("projected_tokens", [None, 900], ids=["crossed", "no-room"])
@pytest.mark.parametrize("limit", [each for each in LIMITS if each != "loop"])
def test_redaction_lets_our_sentences_about_a_budget_pass(limit, projected_tokens, budget_of):
    error = StepBudgetExceeded(
        step="draft",
        function="draft",
        limit=limit,
        limit_value=0.5,
        consumed_tokens=900,
        consumed_cost_usd=0.75,
        consumed=1.25,
        projected_tokens=projected_tokens,
        budget_of=budget_of,
    )
    assert kept_sentences().search(str(error))
