"""The commands of docs/export.md, and of docs/dashboards.md, typed as they stand there. Only ports are others, and where Prometheus keeps its data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra `otlp`")
pytest.importorskip("openai", reason="needs the group `demo`")

from otel_harn_steps.cli._collector_corpus import content_names, secret_kinds
from tests.integration.backends.backend import GrpcBackend, HttpBackend, values
from tests.integration.backends.programs import CONFIGS, ROOT, fetch, free_port, wait_for

PAGE = (ROOT / "docs" / "export.md").read_text()
DASHBOARDS = (ROOT / "docs" / "dashboards.md").read_text()
SPENT_USD = 0.03785678


def block(name, page=PAGE):
    """The commands that the page marks with that name."""
    (found,) = re.findall(rf"^<!-- tested: {name} -->\n```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return found


class Terminal:
    """A shell in the checkout, with the programs on its PATH and every port moved to a free one."""

    def __init__(self, folder, programs):
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, program in {**programs, "python": sys.executable}.items():
            # No link: a Python that is called by another name than its own does not find its packages.
            (bin_folder / name).write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
            (bin_folder / name).chmod(0o755)
        self.ports = {
            name: f"127.0.0.1:{free_port()}"
            for name in (
                "OTLP_GRPC_ENDPOINT", "OTLP_HTTP_ENDPOINT", "HEALTH_ENDPOINT", "METRICS_ENDPOINT", "TRACES_ENDPOINT",
                "JAEGER_HTTP_ENDPOINT", "JAEGER_GRPC_ENDPOINT", "JAEGER_OTLP_HTTP_ENDPOINT", "JAEGER_HEALTH_ENDPOINT",
            )
        }  # fmt: skip
        machine = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "OPENAI_", "ANTHROPIC_", "HONEYCOMB_"))
        }
        self.environment = {
            **machine,
            **self.ports,
            "JAEGER_OTLP_GRPC_ENDPOINT": self.ports["TRACES_ENDPOINT"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.ports['OTLP_HTTP_ENDPOINT']}",
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
            "BATCH_TIMEOUT": "200ms",
        }
        self._folder, self._sessions = folder, []

    def type(self, commands):
        """Run them to their end, but for those that end with &; the exit code."""
        with (self._folder / "background.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-e", "-c", commands],
                cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            self._sessions.append(process.pid)
            return process.wait(timeout=120)

    def answer(self, commands):
        """What commands without a & print."""
        ran = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return ran.stdout if ran.returncode == 0 else ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for session in self._sessions:
            # All that a shell left in the background is in its session.
            try:
                os.killpg(session, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_a_configuration_is_listed_printed_and_tried(collector_binary, tmp_path, running):
    command = Path(sys.executable).with_name("otel-harn-steps")
    terminal = running.enter_context(
        Terminal(tmp_path, {"otelcol-contrib": collector_binary, "otel-harn-steps": command})
    )
    ran = terminal.answer(block("collector-config").replace("> step", f"> {tmp_path}/step"))
    assert (tmp_path / "step-metrics.yaml").read_text() == (CONFIGS / "step-metrics.yaml").read_text()
    assert {line.split()[0] for line in ran.splitlines()} >= {path.stem for path in CONFIGS.iterdir()}
    shown = re.search(r"and says:\n\n```text\n(.*?)```", PAGE, re.DOTALL)[1]
    assert shown.replace("/usr/local", str(tmp_path)) in ran


def test_jaeger_in_three_commands(collector_binary, jaeger_binary, tmp_path, running):
    terminal = running.enter_context(Terminal(tmp_path, {"otelcol-contrib": collector_binary, "jaeger": jaeger_binary}))
    assert len(block("jaeger").splitlines()) == 3
    assert terminal.type(block("jaeger")) == 0

    query = block("jaeger-query").replace("127.0.0.1:16686", terminal.ports["JAEGER_HTTP_ENDPOINT"])
    shown = re.search(r"tokens and dollars of its record:\n\n```text\n(.*?)```", PAGE, re.DOTALL)[1]
    wait_for("the steps as the page shows them", lambda: terminal.answer(query) == shown)

    breached = re.search(r"add `(&tags=\S+)`", PAGE)[1]
    url = f"http://{terminal.ports['JAEGER_HTTP_ENDPOINT']}/api/traces?service=newsletter&limit=20{breached}"
    assert fetch(url).count('"traceID"') > 0


def test_honeycomb_in_three_commands(collector_binary, tmp_path, running):
    honeycomb = running.enter_context(HttpBackend())
    terminal = running.enter_context(Terminal(tmp_path, {"otelcol-contrib": collector_binary}))
    terminal.environment["HONEYCOMB_ENDPOINT"] = honeycomb.url
    assert len(block("honeycomb").splitlines()) == 3
    assert terminal.type(block("honeycomb")) == 0

    def steps():
        return [values(span.attributes) for span in honeycomb.spans() if span.name.startswith("step ")]

    wait_for("nine steps", lambda: len(steps()) == 9)
    assert sum(each["harn.step.cost_usd"] for each in steps()) == pytest.approx(SPENT_USD, abs=1e-9)
    wait_for("the metrics", lambda: "harn.step.cost" in honeycomb.metric_names())
    assert {each.headers["x-honeycomb-team"] for each in honeycomb.received} == {"..."}


def test_redaction_in_two_commands(collector_binary, tmp_path, running):
    backend = running.enter_context(GrpcBackend())
    terminal = running.enter_context(Terminal(tmp_path, {"otelcol-contrib": collector_binary}))
    terminal.environment["TRACES_ENDPOINT"] = backend.address
    assert len(block("redaction").splitlines()) == 2
    assert terminal.type(block("redaction")) == 0

    def steps():
        return {span.name: values(span.attributes) for span in backend.spans() if span.name.startswith("step ")}

    wait_for("nine steps", lambda: len(steps()) == 9)
    assert sum(each["harn.step.cost_usd"] for each in steps().values()) == pytest.approx(SPENT_USD, abs=1e-9)
    assert {"step ask claude", "step newsletter", "step script"} <= steps().keys()
    wait_for("the metrics", lambda: "harn.step.cost" in backend.metric_names())
    counted = [each for step in steps().values() for each in step if each.startswith("redaction.masked")]
    assert counted == []


def test_a_file_of_ones_own_is_printed_and_checked(collector_binary, tmp_path, running):
    command = Path(sys.executable).with_name("otel-harn-steps")
    terminal = running.enter_context(
        Terminal(tmp_path, {"otelcol-contrib": collector_binary, "otel-harn-steps": command})
    )
    ran = terminal.answer(block("redaction-check").replace("my-redaction.yaml", f"{tmp_path}/my-redaction.yaml"))
    assert "accepts my-redaction.yaml" in ran
    shown = re.search(r"that it was another\.\n\n```text\n(.*?)```", PAGE, re.DOTALL)[1]
    assert shown in ran


def test_the_page_says_how_much_a_check_sends():
    names, kinds = re.search(r"a sentence under each of (\d+) names[\s\S]*? and (\d+) kinds of secrets", PAGE).groups()
    assert (int(names), int(kinds)) == (len(content_names()), len(secret_kinds()))


def test_prometheus_in_three_commands(collector_binary, prometheus_binary, tmp_path, running):
    traces = running.enter_context(GrpcBackend())
    terminal = running.enter_context(
        Terminal(tmp_path, {"otelcol-contrib": collector_binary, "prometheus": prometheus_binary})
    )
    terminal.environment["TRACES_ENDPOINT"] = traces.address
    config = (CONFIGS / "prometheus.yaml").read_text().replace("scrape_interval: 15s", "scrape_interval: 1s")
    config = config.replace("127.0.0.1:9464", terminal.ports["METRICS_ENDPOINT"])
    (tmp_path / "prometheus.yaml").write_text(config.replace("[rules.yml]", f"[{CONFIGS / 'rules.yml'}]"))
    web = f"127.0.0.1:{free_port()}"

    def moved(commands):
        for ours, moved in (
            ("collector-config/prometheus.yaml", str(tmp_path / "prometheus.yaml")),
            ("./prometheus-data", str(tmp_path / "data")),
            ("127.0.0.1:9090", web),
        ):
            commands = commands.replace(ours, moved)
        return commands

    assert len(block("prometheus").splitlines()) == 3
    assert terminal.type(moved(block("prometheus"))) == 0
    answered = wait_for(
        "the spend", lambda: terminal.answer(moved(block("prometheus-query"))).strip().replace("null", "")
    )
    shown = re.search(r"^prints `([\d.]+)`, the sum", PAGE, re.MULTILINE)[1]
    assert float(answered) == pytest.approx(float(shown), abs=1e-9)
    assert float(shown) == SPENT_USD


def test_the_dashboard_in_victoriametrics_in_four_commands(victoriametrics_binary, tmp_path, running):
    traces = running.enter_context(HttpBackend())
    terminal = running.enter_context(Terminal(tmp_path, {"victoria-metrics": victoriametrics_binary}))
    terminal.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = traces.url
    web = f"127.0.0.1:{free_port()}"

    def moved(name):
        commands = block(name, DASHBOARDS).replace("127.0.0.1:8428", web)
        return re.sub(r"\./(?=dashboards|victoria-metrics-data)", f"{tmp_path}/", commands)

    assert len(block("victoriametrics", DASHBOARDS).splitlines()) == 4
    assert terminal.type(moved("victoriametrics")) == 0
    answered = wait_for(
        "the spend", lambda: terminal.answer(moved("victoriametrics-query")).strip().replace("null", "")
    )
    shown = re.search(r"^prints `([\d.]+)`, the sum", DASHBOARDS, re.MULTILINE)[1]
    assert float(answered) == pytest.approx(float(shown), abs=1e-9)
    assert float(shown) == SPENT_USD
    assert json.loads(fetch(f"http://{web}/vmui/custom-dashboards"))["dashboardsSettings"][0]["title"] == "Step spend"


def test_the_page_names_only_files_that_are_there():
    named = re.findall(r"(?:collector-config|examples|tools)/[\w.-]+\w", PAGE)
    assert named
    assert [each for each in named if not (ROOT / each).exists()] == []
