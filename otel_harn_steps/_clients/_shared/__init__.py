"""What several client libraries have in common."""
