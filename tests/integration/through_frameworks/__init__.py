"""Frameworks over the clients: every answer billed once, to the right step, and equal to what the framework counts."""
