"""Which libraries of the user's data folder there are, by name; it opens none."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from shlex import quote

import platformdirs

DEFAULT = "main"  # the library that is used if none is named
MANIFEST = "manifest.json"  # a folder that holds it is a library


def home() -> Path:
    """Return the folder that the libraries of bare names are in."""
    return platformdirs.user_data_path("qvsearch", appauthor=False)


def default_folder() -> Path:
    """Return the folder of the library that is used if none is named."""
    return home() / DEFAULT


def library_names() -> list[str]:
    """Return the names of the libraries there, sorted."""
    return sorted(path.parent.name for path in home().glob(f"*/{MANIFEST}"))


def option(folder: Path) -> str:
    """Return ` -l NAME`, as a command about this library needs it; empty for the default one."""
    if folder == default_folder():
        return ""
    return f" -l {quote(folder.name if folder.parent == home() else str(folder))}"


def absence(folder: Path) -> str:
    """Return the sentence that no library is in this folder, and which ones there are."""
    names = library_names()
    there = f" there are: {', '.join(names)}"
    if names and folder.parent == home():
        by_case = {name.casefold(): name for name in names}
        near = get_close_matches(folder.name.casefold(), by_case, 1)
        likely = f" did you mean {by_case[near[0]]}?" if near else ""
        return f"no library {folder.name};{likely}{there}"
    if folder.is_dir() and any(folder.iterdir()):
        other = f"no library at {folder}: this folder holds other files"
        return f"{other};{there}" if names else f"{other}; name another one with --library"
    return f"no library at {folder}; make one with: qvsearch index PATH..."
