"""benchmarks/scale.py measures what it says: a hundredth of it, without a look at the figures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCALE = Path(__file__).parents[1] / "benchmarks" / "scale.py"


def test_every_row_has_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, str(SCALE), "--quick", "--rounds", "1"],
        check=True,
        capture_output=True,
        text=True,
        cwd=SCALE.parent,
    )
    head, _, *rows = done.stdout.splitlines()
    assert head == "| what grows | over bare |"
    assert len(rows) == 14
    figures = re.compile(r"\| .+ \| -?[\d,.]+(, -?[\d,.]+)* (us|ms|MB|bytes) \|")
    assert [row for row in rows if not figures.fullmatch(row)] == []
