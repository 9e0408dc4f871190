"""Deprecated module of version 0.1; its documented names are in `qvsearch`."""

from qvsearch.filters import __getattr__ as __getattr__
