"""`python -m tests.soak`: an app over faults of every kind, for a while."""
