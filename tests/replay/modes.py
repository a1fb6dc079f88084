"""Sync and async, as the conformance kit tells them apart."""

from otel_harn_steps.testing._modes import SYNC, AsyncMode, Entered, Mode, uncollected

__all__ = ["SYNC", "AsyncMode", "Entered", "Mode", "uncollected"]
