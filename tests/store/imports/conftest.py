"""Importing needs the `cli` extra."""

from __future__ import annotations

import pytest

pytest.importorskip("msgspec")
