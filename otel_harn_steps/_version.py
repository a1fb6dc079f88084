"""The version of the package, and of its instrumentation scope."""

__version__ = "0.1.0"
