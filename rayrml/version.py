"""The version of the package, for its modules and its build."""

__version__ = "0.1.0"
