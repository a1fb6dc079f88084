"""What the app saw, as the conformance kit writes it down."""

from otel_harn_steps.testing._seen import Seen, first_difference

__all__ = ["Seen", "first_difference"]
