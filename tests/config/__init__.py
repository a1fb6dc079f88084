"""Steps from a file."""
