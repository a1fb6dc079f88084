"""The real programs, as the backend tests have them."""

from __future__ import annotations

from tests.integration.backends.binaries import collector_binary, prometheus_binary, tool, victoriametrics_binary

__all__ = ["collector_binary", "prometheus_binary", "tool", "victoriametrics_binary"]
