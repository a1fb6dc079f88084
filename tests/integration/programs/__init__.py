"""Agent programs that others wrote, under the two commands."""
