"""What overshoot.py measures: the same work under every way to hold a budget, billed by one stand-in."""
