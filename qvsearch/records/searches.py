"""Records of saved searches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present
from qvsearch.library.searches import LISTS, PATHS

if TYPE_CHECKING:
    from qvsearch.library.searches import SavedSearch, Value


def search_record(search: SavedSearch) -> dict[str, object]:
    """Return a saved search of `searches --json`, one a line.

    name (string): its name
    options (object): the search as options of `search` without dashes; its query is `words` or
        `file`. Paths that are not UTF-8 have the suffix `_b64`; several paths are objects with
        `path` or `path_b64`
    saved (string, ISO 8601 in UTC): when it was saved
    last_used (string, ISO 8601 in UTC): when it was last used; absent before that
    problem (string): why it cannot be read; its name is then that of its file
    """
    options: dict[str, object] = {}
    for name, value in search.options.items():
        options |= _option(name, value)
    return present(
        {
            "name": search.name,
            "options": None if search.problem else options,
            "saved": search.saved or None,
            "last_used": search.used,
            "problem": search.problem,
        }
    )


def _option(name: str, value: Value) -> dict[str, object]:
    if name in PATHS and isinstance(value, str):
        return {**path_fields(name, os.fsencode(value))}
    if name in PATHS & LISTS and isinstance(value, list):
        return {name: [path_fields("path", os.fsencode(each)) for each in value]}
    return {name: value}
