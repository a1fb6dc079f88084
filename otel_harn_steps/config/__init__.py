"""Steps from a file: `harn-steps.toml`, or `[tool.otel_harn_steps]` in `pyproject.toml`.

Three parts. `load` reads a file into a plan, and needs pydantic. `start` puts a plan in force, and needs no more than
the core. `find_config` finds out whether there is a file at all, and costs next to nothing.
"""

from __future__ import annotations
