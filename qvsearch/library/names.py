"""Names of libraries: their folders, those of the user's data folder, and the default one."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

import platformdirs

from qvsearch.errors import QvsearchError
from qvsearch.files import is_temporary

if sys.platform == "win32":
    from pathlib import WindowsPath as _Path
else:
    from pathlib import PosixPath as _Path

DEFAULT = "main"  # the library that is used if none is named
LONGEST_NAME = 200  # bytes: file systems allow 255, and temporary names are longer
MANIFEST = "manifest.json"  # a folder that holds it is a library
SEGMENTS = "segments"  # the folder of its shards
PUBLICATION = "publication.json"  # beside the manifest of a published library
TABLE = ".lance"  # the end of the folder of a shared table
_NOT_LOCAL = (
    "{} is a shared table, which only `qvsearch publish` changes;"
    " name a library on this computer with -l"
)
_SCHEME = re.compile("[a-z][a-z0-9+.-]+:/+")


class TableUri(_Path):
    """The address of a shared table in object storage, where a library has its folder.

    `str` returns it as it was written, e.g. s3://bucket/photos; a plain path would lose a slash.
    """

    def __str__(self) -> str:
        """Return the address with both slashes after its scheme."""
        return _SCHEME.sub(lambda scheme: scheme[0].rstrip("/") + "//", super().__str__(), count=1)


def is_table(folder: Path) -> bool:
    """Return whether this is the place of a shared table, there or not."""
    return isinstance(folder, TableUri) or folder.suffix == TABLE


def home() -> Path:
    """Return the folder that holds the libraries with bare names."""
    return platformdirs.user_data_path("qvsearch", appauthor=False)


def default_folder() -> Path:
    """Return the folder of the default library."""
    return home() / DEFAULT


def library_folder(name: str | Path | None) -> Path:
    """Return the folder of the named library, or of $QVSEARCH_LIBRARY, or of the default library.

    A bare name is a library of the user's data folder, or if there is none, an existing folder of
    that name in the current one. A Path is the folder itself. `s3://BUCKET/NAME` and a path that
    ends in .lance are shared tables. Raises QvsearchError for an empty name.
    """
    if isinstance(name, Path):
        return name if isinstance(name, TableUri) else _absolute(name)
    if name == "":
        raise QvsearchError("the name of the library is empty; give -l NAME, or leave it out")
    name = name or os.environ.get("QVSEARCH_LIBRARY")
    if not name:
        return default_folder()
    if _SCHEME.match(name):
        return TableUri(name.rstrip("/"))
    here = _absolute(name)
    if is_table(here):
        return here
    separators = [os.sep, os.altsep or os.sep]
    is_path = any(separator in name for separator in separators) or name.startswith("~")
    if is_path or (here.is_dir() and not exists(home() / name)):
        return here
    return home() / name


def existing_folder(name: str | None) -> Path:
    """Return `library_folder` of a name; raises QvsearchError if there is no library."""
    folder = library_folder(name)
    if not exists(folder):
        raise QvsearchError(absence(folder))
    return folder


def check_local(folder: Path) -> None:
    """Raise QvsearchError for a shared table, where a library on this computer is needed."""
    if is_table(folder):
        raise QvsearchError(_NOT_LOCAL.format(folder))


def new_folder(name: str, beside: Path) -> Path:
    """Return the folder of a new library by its name, in the folder of another one.

    Raises QvsearchError for a name that a file system or a command line would misread.
    """
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif name != name.strip() or name[0] in ".-~":
        problem = "it begins with a space, a dot, - or ~, or ends with a space"
    elif any(character in name for character in "/\\:") or not name.isprintable():
        problem = "it has a slash, a colon or a character that is not printed"
    elif len(os.fsencode(name)) > LONGEST_NAME:
        problem = f"it has more than {LONGEST_NAME} bytes"
    if problem is not None:
        raise QvsearchError(
            f"{name!r} cannot be the name of a library: {problem};"
            " give a word, or use: qvsearch libraries move NAME FOLDER"
        )
    return beside.parent / name


def chosen_folders(names: Sequence[str], *, all_: bool = False) -> list[Path]:
    """Return the folders of the named libraries, each once; of the default one without a name.

    `all_` adds every library of the data folder. Raises QvsearchError if there is none, or for an
    empty name.
    """
    folders = list(map(library_folder, names)) if names or all_ else [library_folder(None)]
    if all_:
        folders += [home() / name for name in library_names()]
        if not folders:
            raise QvsearchError(
                f"there is no library in {home()}; create one with: qvsearch index FOLDER"
            )
    first: dict[str, Path] = {}
    for each in folders:
        first.setdefault(str(each) if is_table(each) else os.path.realpath(each), each)
    return list(first.values())


def short_names(folders: Iterable[Path]) -> dict[Path | None, str]:
    """Return a name for each library to tell them apart: without the folder above, if possible."""
    names: dict[Path | None, str] = {each: each.name for each in folders}
    often = Counter(names.values())
    return {each: name if often[name] == 1 else str(each) for each, name in names.items()}


def exists(folder: Path) -> bool:
    """Return whether a library is there, damaged or not."""
    return (folder / MANIFEST).exists() or any((folder / SEGMENTS).glob("*.faiss"))


def library_names() -> list[str]:
    """Return the names of the libraries of the data folder, sorted."""
    folders = (path.parent for path in home().glob(f"*/{MANIFEST}"))
    return sorted(each.name for each in folders if not is_temporary(each))


def option(folder: Path) -> str:
    """Return ` -l NAME` for a command about this library; empty for the default one."""
    if folder == default_folder():
        return ""
    return f" -l {quote(folder.name if folder.parent == home() else str(folder))}"


def absence(folder: Path) -> str:
    """Return the sentence that there is no library in a folder, with those that there are."""
    if is_table(folder):
        return _NOT_LOCAL.format(folder)
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
    return f"no library at {folder}; make one with: qvsearch index PATH...{option(folder)}"


def _absolute(folder: str | Path) -> Path:
    return Path(folder).expanduser().absolute()
