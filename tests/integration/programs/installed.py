"""Where the programs and their environments are, and the package as one that is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

HERE = Path(__file__).parent


ROOT = HERE.parents[2]


ENVIRONMENTS = ROOT / "tests" / "frameworks" / "environments"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that describes this package as its installation does, with its entry points."""
    folder = tmp_path_factory.mktemp("installed")
    distribution = metadata.distribution("otel-harn-steps")
    dist_info = folder / "otel_harn_steps-0.dist-info"
    dist_info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        dist_info.joinpath(name).write_text(distribution.read_text(name) or "", encoding="utf-8")
    return folder
