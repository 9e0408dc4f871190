"""The version of qvsearch."""

__version__ = "0.2.0"
