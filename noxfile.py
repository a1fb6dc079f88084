"""The suites of the core, on every Python that the machine has, and with the core's oldest dependencies."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False

SUITES = ("tests/steps", "tests/telemetry", "tests/instrument", "tests/cost", "tests/calls/test_streams_watched.py")
RUNNERS = ("hypothesis", "pytest", "pytest-asyncio", "pytest-xdist")


@nox.session(python=["3.11", "3.12", "3.13"])
def suites(session: nox.Session) -> None:
    """The suites of the core, with the versions of constraints.txt."""
    session.install("-e", ".[cli,otlp]", "--group", "test", "--constraint", "constraints.txt")
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *SUITES)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The oldest versions of the core's own dependencies that pyproject.toml allows."""
    session.install("-e", ".[cli,otlp]", "--resolution", "lowest-direct")
    session.install("openai", "anthropic", "opentelemetry-instrumentation-threading", *RUNNERS)
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *SUITES)
