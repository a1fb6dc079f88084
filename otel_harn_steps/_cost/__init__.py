"""Tokens in, pico-dollars out. Knows neither steps nor calls."""
