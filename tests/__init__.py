"""The tests of otel_harn_steps."""
