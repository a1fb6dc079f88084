"""Agent programs that nobody here wrote, under the two commands."""
