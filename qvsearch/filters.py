"""Deprecated module of version 0.1; its documented names are in `qvsearch`."""

from warnings import warn

import qvsearch

_NAMES = {"Filters", "Query", "SearchOptions", "parse_filters", "search"}


def __getattr__(name: str) -> object:
    """Return a name that the documentation of 0.1 imported from here or from `retrieve`."""
    if name not in _NAMES:
        raise AttributeError(f"there is no {name!r} in a module of qvsearch 0.1")
    message = f"import {name} from qvsearch; modules of version 0.1 will be removed in 0.3"
    warn(message, DeprecationWarning, stacklevel=2)
    return getattr(qvsearch, name)
