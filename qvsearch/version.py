"""The version of qvsearch."""

__version__ = "0.1.0"
