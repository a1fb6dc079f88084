"""The package as one that is installed, for the programs that are run."""

from __future__ import annotations

from tests.integration.programs.installed import installed

__all__ = ["installed"]
