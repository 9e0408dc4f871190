"""Deprecated module of version 0.1; its documented names are in `qvsearch`."""

from warnings import warn

import qvsearch

_NAMES = {"Query", "SearchOptions", "search"}


def __getattr__(name: str) -> object:
    """Return a name that the documentation of 0.1 imported from here."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"import {name} from qvsearch; {__name__} will be removed in 0.3"
    warn(message, DeprecationWarning, stacklevel=2)
    return getattr(qvsearch, name)
