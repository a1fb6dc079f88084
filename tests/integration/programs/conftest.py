"""The package as one that is installed, and the providers' hosts, for the programs that are run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.programs.hosts import Hosts
from tests.integration.programs.installed import installed

__all__ = ["hosts", "installed"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(tmp_path_factory.mktemp("authority")) as hosts:
        yield hosts
