"""The version of the package, for everybody inside it and for what builds it."""

__version__ = "0.1.0"
