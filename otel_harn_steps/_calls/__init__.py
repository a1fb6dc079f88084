"""What happens around one call to a model."""
