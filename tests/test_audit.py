"""`make audit`: what it makes of pip-audit's answers. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

ROOT = Path(__file__).resolve().parent.parent
CLEAN = {"name": "wrapt", "version": "2.5.2", "vulns": []}
VULNERABLE = {
    "name": "idna",
    "version": "3.1",
    "vulns": [{"id": "PYSEC-2024-60", "fix_versions": ["3.7"], "aliases": [], "description": ""}],
}
SKIPPED = {
    "name": "pydantic",
    "skip_reason": "Dependency not found on PyPI and could not be audited: pydantic (2.14.3)",
}


@pytest.fixture
def audit() -> Iterator[ModuleType]:
    with script("audit") as module:
        yield module


def test_a_vulnerable_package_of_an_installation_fails(audit: ModuleType) -> None:
    code, lines = audit.verdict(audit.read({"dependencies": [CLEAN, VULNERABLE]}, []), None)
    assert code == 1
    assert lines[0] == "VULNERABLE, and installed with the package: idna 3.1: PYSEC-2024-60, mended in 3.7"


def test_one_that_only_development_needs_is_a_warning(audit: ModuleType) -> None:
    code, lines = audit.verdict(
        audit.read({"dependencies": [CLEAN]}, []), audit.read({"dependencies": [VULNERABLE]}, [])
    )
    assert code == 0
    assert lines[0].startswith("warning, in development only: idna 3.1")


@pytest.mark.parametrize("answer", [None, {"dependencies": [SKIPPED]}])
def test_where_the_data_cannot_be_reached_nothing_is_said_to_be_clean(audit: ModuleType, answer: object) -> None:
    code, lines = audit.verdict(audit.read(answer, ["pydantic"]), None)
    assert code == 0
    (line,) = lines
    assert line.startswith("NOT AUDITED")
    assert "1 packages" in line


def test_a_package_that_nobody_knows_is_named(audit: ModuleType) -> None:
    code, lines = audit.verdict(audit.read({"dependencies": [CLEAN, SKIPPED]}, []), None)
    assert code == 0
    assert lines == [
        "an installation's packages: 1 audited, 0 vulnerabilities known",
        "NOT AUDITED, of an installation's packages: pydantic",
    ]
