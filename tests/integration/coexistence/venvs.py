"""Virtual environments for other people's packages, one each, from the pinned requirements in an `environments/`.

They are kept in ~/.cache/otel-harn-steps/venvs, under the requirements' hash, so that they are made once.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENTS = Path(__file__).with_name("environments")
CACHE = Path.home() / ".cache" / "otel-harn-steps" / "venvs"


def python_of(name: str, environments: Path = ENVIRONMENTS) -> Path:
    """The Python of an environment, which is made first if need be. Safe to call from several processes."""
    requirements = environments / f"{name}.txt"
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes() + python_version.encode()).hexdigest()[:12]
    venv = CACHE / f"{name}-{digest}"
    complete = venv / ".complete"
    with _locked(venv):
        if not complete.exists():
            shutil.rmtree(venv, ignore_errors=True)  # half made: its making was interrupted
            _make(venv, requirements)
            complete.touch()
    return venv / "bin" / "python"


def _make(venv: Path, requirements: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    python = venv / "bin" / "python"
    if uv is None:
        _run(sys.executable, "-m", "venv", venv)
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", requirements)
    else:
        _run(uv, "venv", "--quiet", "--python", sys.executable, venv)
        _run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "-r", requirements)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


@contextmanager
def _locked(venv: Path) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with venv.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for each in sys.argv[1:] or sorted(file.stem for file in ENVIRONMENTS.glob("*.txt")):
        sys.stdout.write(f"{each} {python_of(each)}\n")
