"""What `instrument()` puts in place, and takes out again."""
