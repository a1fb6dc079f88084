"""An app of its own process, with the package in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.integration.backends.programs import ROOT


class App:
    """A process of `app.py`. It works at once; `report()` waits until it is done."""

    def __init__(self, *arguments, endpoint, protocol="grpc", **settings):
        machine = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_", "ANTHROPIC_"))
        }
        environment = {
            **machine,
            "PYTHONPATH": str(ROOT),
            "OTEL_SERVICE_NAME": "agent",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint if protocol == "http" else f"http://{endpoint}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "NO_PROXY": "127.0.0.1",
            **settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.backends.app", *arguments],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def report(self):
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(self._process.stderr.read())

    def kill(self):
        self._process.kill()
        self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()


def spent(records, field="cost_usd"):
    return sum(each[field] for each in records)
