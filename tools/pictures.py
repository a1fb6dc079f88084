"""Takes the pictures of the docs: runs the demo against the real programs and photographs their pages in Chromium.

    python -m tools.pictures          from the checkout, with the packages that the backend tests need

Needs the programs of tools/backends.py (`all`, and `phoenix`), and chromium on PATH (Debian: apt-get install chromium).
Takes about ten minutes. The pictures are written to docs/pictures/. One alone: `graph`, `trace` or `dashboard`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from otel_harn_steps.dashboard import victoriametrics
from tests.integration.backends.apps import App
from tests.integration.backends.backend import GrpcBackend
from tests.integration.backends.programs import ROOT, Collector, Phoenix, Prometheus, VictoriaMetrics, fetch, wait_for
from tools import backends

PICTURES = ROOT / "docs" / "pictures"
MINUTES = 4
# Without these Chromium asks hosts of its maker, and, as root, does not start.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--virtual-time-budget=20000",
)  # fmt: skip


def demo(grpc: str) -> None:
    """Run the demo once; its spans go to `grpc`."""
    machine = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPENAI_"))}
    subprocess.run(
        [sys.executable, "-m", "tests.integration.backends.app", "demo"],
        cwd=ROOT, check=True, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={
            **machine,
            "PYTHONPATH": str(ROOT),
            "OTEL_SERVICE_NAME": "newsletter-agent",
            "OTEL_RESOURCE_ATTRIBUTES": "tenant.id=acme,openinference.project.name=demo",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{grpc}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        },
    )  # fmt: skip


def photograph(url: str, name: str, size: str) -> None:
    """Take a picture of a page."""
    with tempfile.TemporaryDirectory() as profile:
        file = PICTURES / name
        command = [
            "chromium",
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--window-size={size}",
            f"--screenshot={file}",
            url,
        ]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")


def program(name: str) -> Path:
    """The program, from the cache or PATH."""
    found = backends.find(name)
    if not isinstance(found, Path):
        sys.exit(found.reason)
    return found


def graph_page() -> None:
    """Prometheus's graph of spend by step, over some minutes of the demo."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        traces = stack.enter_context(GrpcBackend())
        collector = stack.enter_context(
            Collector(
                program("collector"), "step-metrics", folder / "c", TRACES_ENDPOINT=traces.address, BATCH_TIMEOUT="1s"
            )
        )
        prometheus = stack.enter_context(
            Prometheus(program("prometheus"), folder / "p", collector.metrics_url.split("/")[2])
        )
        ends = time.monotonic() + MINUTES * 60
        chance = random.Random(5)  # noqa: S311 -- pauses, no secrets
        while time.monotonic() < ends:
            demo(collector.grpc)
            time.sleep(chance.uniform(0, 20))
        time.sleep(3)
        query = {
            "g0.expr": "sum by (harn_step_name) (harn_step_cost_total)",
            "g0.tab": "0",
            "g0.range_input": f"{MINUTES}m",
            "g0.stacked": "1",
            "g0.show_exemplars": "0",
        }
        photograph(f"{prometheus.url}/graph?{urllib.parse.urlencode(query)}", "prometheus-graph.png", "1280,960")


def trace_page() -> None:
    """Phoenix's page of the demo's longer trace."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        phoenix = stack.enter_context(Phoenix(program("phoenix"), folder))
        demo(phoenix.otlp)

        def spans() -> list[dict[str, str]]:
            answer = json.loads(fetch(f"{phoenix.url}/v1/projects/demo/spans?limit=100") or '{"data": []}')
            found: list[dict[str, str]] = answer["data"]
            return found if len(found) >= 18 else []

        found = wait_for("the demo in Phoenix", spans)
        trace = next(each["context"]["trace_id"] for each in found if each["name"] == "step newsletter")  # type: ignore[index]
        project = json.loads(fetch(f"{phoenix.url}/v1/projects/demo") or "")["data"]["id"]
        photograph(f"{phoenix.url}/projects/{project}/traces/{trace}", "phoenix-trace.png", "1440,900")


def dashboard_page() -> None:
    """The dashboard in VictoriaMetrics, over some minutes of work that has something for every panel."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dashboards = folder / "dashboards"
        dashboards.mkdir()
        (dashboards / victoriametrics.FILE.name).write_bytes(victoriametrics.FILE.read_bytes())
        traces = stack.enter_context(GrpcBackend())
        server = stack.enter_context(VictoriaMetrics(program("victoriametrics"), folder / "v", dashboards))
        app = stack.enter_context(
            App(
                "varied", str(60 * MINUTES), "1", "0.6", endpoint=traces.address, OTLP_METRICS="http",
                OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=server.otlp, OTEL_RESOURCE_ATTRIBUTES="tenant.id=acme",
            )
        )  # fmt: skip
        began = int(time.time())
        app.report()
        time.sleep(3)
        end = int(time.time()) // 10 * 10 + 10
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1760, "height": 1180}, timezone_id="UTC")
        page.goto(server.dashboards(end, end - began + 10, 10))
        for name, title in {
            "victoriametrics-totals.png": "Spend",
            "victoriametrics-steps.png": "Spend over time by step",
        }.items():
            panel = page.locator(".vm-predefined-panel", has=page.get_by_role("heading", name=title, exact=True))
            if title != "Spend":  # with which the page begins
                panel.evaluate("panel => panel.scrollIntoView()")
            expect(panel.locator(".vm-legend-item-info__label").first).to_be_visible(timeout=60_000)
            page.wait_for_timeout(15_000)  # all that are in sight
            file = PICTURES / name
            page.screenshot(path=file)
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")
        browser.close()


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    chosen = sys.argv[1:] or ["graph", "trace", "dashboard"]
    if "graph" in chosen:
        graph_page()
    if "trace" in chosen:
        trace_page()
    if "dashboard" in chosen:
        dashboard_page()
