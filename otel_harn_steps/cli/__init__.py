"""The command `otel-harn-steps`."""

from __future__ import annotations
