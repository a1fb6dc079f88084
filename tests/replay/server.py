"""The server of the conformance kit."""

from otel_harn_steps.testing import Exchange, ReplayServer

__all__ = ["Exchange", "ReplayServer"]
