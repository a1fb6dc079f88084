"""Where the configuration is. Cheap where there is none: nothing is parsed, and no model library is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = "OTEL_HARN_STEPS_CONFIG"
RUN_FOLDER: Final = "OTEL_HARN_STEPS_RUN"
"""Set by `otel-harn-steps run` for the processes below it."""
FILE: Final = "harn-steps.toml"
PYPROJECT: Final = "pyproject.toml"
SECTION: Final = ("tool", "otel_harn_steps")


def find_config(given: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file: `given`, else `OTEL_HARN_STEPS_CONFIG`, else the one in the working directory.

    There, `harn-steps.toml` comes before a `pyproject.toml` that has a section for us. Folders above are not searched:
    what a process does should not depend on files in folders above it.
    """
    named = given or os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    if Path(FILE).is_file():
        return Path(FILE)
    try:
        has_section = b"otel_harn_steps" in Path(PYPROJECT).read_bytes() and _has_section(Path(PYPROJECT))
    except OSError:
        return None
    return Path(PYPROJECT) if has_section else None


def _has_section(path: Path) -> bool:
    import tomllib  # noqa: PLC0415 -- only for a file that mentions us

    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool")
    except ValueError:  # somebody else's mistake, which others report
        return False
    return isinstance(tools, dict) and SECTION[-1] in tools
