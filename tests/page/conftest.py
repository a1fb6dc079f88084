"""A folder with the journals of some days, and the store over it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_harn_steps.store import Store
from tests.page.records import write_two_weeks


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journals of four days."""
    folder = tmp_path_factory.mktemp("records")
    write_two_weeks(folder, time.time_ns(), days=3)
    return folder


@pytest.fixture
def store(records: Path) -> Iterator[Store]:
    """The store over them."""
    with Store(records) as store:
        store.update()
        yield store
