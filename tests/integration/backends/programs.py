"""The real programs, on free loopback ports. Waiting is always for a condition, with a deadline."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from otel_harn_steps.cli import _programs
from otel_harn_steps.cli._programs import NotInTime, Program, fetch, free_port, wait_for

__all__ = [
    "CONFIGS",
    "ROOT",
    "Collector",
    "Jaeger",
    "NotInTime",
    "Phoenix",
    "Program",
    "Prometheus",
    "VictoriaMetrics",
    "fetch",
    "free_port",
    "wait_for",
]

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "collector-config"


class Collector(_programs.Collector):
    """The real Collector with one of our configurations."""

    def __init__(self, binary: Path, name: str, directory: Path, **settings: str) -> None:
        super().__init__(binary, CONFIGS / f"{name}.yaml", directory, **settings)


class Jaeger(Program):
    """The real Jaeger v2 with our configuration."""

    def __init__(self, binary: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        http, grpc, self.otlp, otlp_http, health = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.query = f"http://{http}"
        super().__init__(
            [str(binary), f"--config={CONFIGS / 'jaeger.yaml'}"],
            health=f"http://{health}/status",
            log=directory / "jaeger.log",
            directory=directory,
            environment={
                "JAEGER_HTTP_ENDPOINT": http,
                "JAEGER_GRPC_ENDPOINT": grpc,
                "JAEGER_OTLP_GRPC_ENDPOINT": self.otlp,
                "JAEGER_OTLP_HTTP_ENDPOINT": otlp_http,
                "JAEGER_HEALTH_ENDPOINT": health,
            },
        )

    def stop(self) -> None:
        """End it at once: asked to end, it takes ten seconds, and it has nothing to save."""
        self.kill()


class Prometheus(Program):
    """The real Prometheus with our configuration, scraping the Collector at `target`, and `apps`, every second."""

    def __init__(self, binary: Path, directory: Path, target: str, apps: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        web = f"127.0.0.1:{free_port()}"
        self.url = f"http://{web}"
        config = (CONFIGS / "prometheus.yaml").read_text()
        assert "127.0.0.1:9464" in config
        config = config.replace("127.0.0.1:9464", target).replace("scrape_interval: 15s", "scrape_interval: 1s")
        if apps:
            # The lines that users uncomment.
            config = re.sub(r"^  # ", "  ", config, flags=re.MULTILINE).replace(
                '"127.0.0.1:9465"', json.dumps(list(apps))[1:-1]
            )
        (directory / "prometheus.yaml").write_text(config.replace("[rules.yml]", f"[{CONFIGS / 'rules.yml'}]"))
        super().__init__(
            [
                str(binary),
                "--config.file=prometheus.yaml",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={web}",
            ],
            health=f"{self.url}/-/ready",
            log=directory / "prometheus.log",
            directory=directory,
            environment={},
        )


class VictoriaMetrics(Program):
    """The real VictoriaMetrics, with the dashboards of a folder in its page. Takes metrics over OTLP/HTTP at `otlp`.

    It names metrics and labels as Prometheus does, and takes attributes of the resource as labels.
    """

    def __init__(self, binary: Path, directory: Path, dashboards: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        web = f"127.0.0.1:{free_port()}"
        self.url = f"http://{web}"
        self.otlp = f"{self.url}/opentelemetry/v1/metrics"
        super().__init__(
            [
                str(binary),
                f"-httpListenAddr={web}",
                f"-storageDataPath={directory / 'data'}",
                f"-vmui.customDashboardsPath={dashboards}",
                "-opentelemetry.usePrometheusNaming",
                # What has just been sent is asked for at once; and it asks nobody for news.
                "-search.latencyOffset=0s",
                "-search.disableCache",
            ],
            health=f"{self.url}/health",
            log=directory / "victoria-metrics.log",
            directory=directory,
            environment={},
        )

    def dashboards(self, end_s: int, range_s: int, step_s: int) -> str:
        """The address of its page of dashboards, for the time up to `end_s`, in seconds since the epoch.

        The page reads times in the time zone of its reader: UTC here.
        """
        shown = {
            "g0.range_input": f"{range_s}s",
            "g0.end_input": datetime.fromtimestamp(end_s, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "g0.step_input": f"{step_s}s",
            "g0.relative_time": "none",
        }
        return f"{self.url}/vmui/#/dashboards?{urlencode(shown)}"


class Phoenix(Program):
    """The real Phoenix, with its database in `directory`. It sends nothing anywhere."""

    def __init__(self, binary: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        http, grpc = free_port(), free_port()
        self.url, self.otlp = f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}"
        super().__init__(
            [str(binary), "serve"],
            health=f"{self.url}/healthz",
            log=directory / "phoenix.log",
            directory=directory,
            starts_within_s=240,
            environment={
                "PHOENIX_WORKING_DIR": str(directory),
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(http),
                "PHOENIX_GRPC_PORT": str(grpc),
                "PHOENIX_TELEMETRY_ENABLED": "false",
                "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            },
        )


COLLECTOR = [
    "local-jaeger", "honeycomb", "step-metrics", "tail-sampling", "redaction", "gateway", "gateway-shards", "mlflow",
]  # fmt: skip
