"""The pictures of the terminal: the same code takes the same pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("msgspec", reason="the store needs the extra `cli`")
pytest.importorskip("rich")
pytest.importorskip("anthropic", reason="needs the group `demo`")

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_pictures_are_the_same_whenever_they_are_taken_and_fetch_nothing(tmp_path):
    taken = []
    for name in ("first", "second"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo" if taken else "America/Lima"}
        command = (sys.executable, "-m", "tools.terminal_pictures", str(tmp_path / name))
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
        taken.append({file.name: file.read_text() for file in (tmp_path / name).iterdir()})
    first, second = taken
    assert first == second
    assert set(first) == {file.name for file in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert not any("url(http" in svg or "href" in svg for svg in first.values())
