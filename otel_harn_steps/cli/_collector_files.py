"""The configurations of `collector-config/`, as they are shipped: where each is, and what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import shorten
from typing import Final

_PACKAGE: Final = Path(__file__).parent.parent
# In a wheel they are inside the package, in a checkout next to it.
_PLACES: Final = (_PACKAGE / "collector_config", _PACKAGE.parent / "collector-config")

_WIDTH: Final = 100


def configurations() -> dict[str, Path]:
    """Every configuration by its name, which is that of its file without the ending."""
    for place in _PLACES:
        if place.is_dir():
            return {path.stem: path for path in sorted(place.glob("*.y*ml"))}
    return {}


def purpose(path: Path) -> str:
    """What a configuration is for: the first sentence of its head, in short."""
    head = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        head.append(line.lstrip("# "))
    return shorten(" ".join(head).partition(". ")[0].rstrip("."), _WIDTH, placeholder=" ...")


def settings_of(path: Path) -> set[str]:
    """The variables of the environment that a configuration reads."""
    return set(re.findall(r"\$\{env:([A-Z0-9_]+)", path.read_text(encoding="utf-8")))
