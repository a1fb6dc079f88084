"""The suites of the core on newer Pythons than `make test` runs on, and with the core's oldest dependencies."""

from __future__ import annotations

import os
from pathlib import Path

import nox

# A Python that is missing is skipped and never fetched. All Pythons of pyenv are found, whichever of them is in use.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join([*map(str, sorted(_PYENV.glob("versions/3.1*/bin"))), os.environ["PATH"]])

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False

# What depends on the Python: threads, forks, the garbage collector, interrupts, frames.
SUITES = (
    "tests/steps",
    "tests/telemetry",
    "tests/guard",
    "tests/calls/test_forks.py",
    "tests/calls/test_streams_watched.py",
)
# What depends on the versions of others, and on the newest Python's functions.
MORE = ("tests/instrument", "tests/cost")
# In one resolution, so that nothing raises the versions that are tested.
OLDEST_TOGETHER_WITH = (
    "anthropic>=0.125",
    "django>=5.2",
    "fastapi>=0.139",
    "flask>=3.1",
    "httpx>=0.28",
    "hypothesis>=6.100",
    "openai>=1.109",
    "opentelemetry-distro>=0.64b0",
    "opentelemetry-instrumentation-threading>=0.64b0",
    "pytest>=9",
    "pytest-asyncio>=1",
    "pytest-xdist>=3.5",
)


@nox.session(python=["3.12", "3.13"])
def suites(session: nox.Session) -> None:
    """The suites of the core, with the versions of constraints.txt."""
    session.install("-e", ".[serve,otlp]", "--group", "test", "--constraint", "constraints.txt")
    more = MORE if session.python == "3.13" else ()
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *SUITES, *more)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The oldest versions of the core's own dependencies that pyproject.toml allows."""
    session.install("-e", ".[cli,otlp]", *OLDEST_TOGETHER_WITH, "--resolution", "lowest-direct")
    # The HTTP library of an old client leaves sockets to the garbage collector.
    left_sockets = "ignore::pytest.PytestUnraisableExceptionWarning"
    session.run(
        "python", "-m", "pytest", "-q", "-n", "auto", "-W", left_sockets, "-p", "no:cacheprovider", *SUITES, *MORE
    )
