"""Saved searches: files of a folder in the library, each a query and its options by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, read_start, remove_file, write_file
from qvsearch.library.names import check_local
from qvsearch.library.names import option as library_option

SEARCHES = "searches"  # folder in a library
DEFINITION, SEEN = ".json", ".seen"  # suffixes of the two files of a search
VERSION = 1
MARK = "@"  # before the name of a saved search in a command
LONGEST_NAME = 100  # characters
LARGEST = 1_000_000  # bytes of a definition

Value = str | float | bool | list[str]
Options = Mapping[str, Value]

# the options of `search` without their dashes. The query is `words` or `file`
PATHS = {"file", "image", "like", "unlike", "under"}  # absolute
LISTS = {"like", "not", "without", "unlike", "kind", "under", "glob", "suffix", "keyword"}
NUMBERS = {"like-weight", "not-weight", "top", "min-relevance", "rerank-top"}
FLAGS = {"words-only", "meaning-only", "exact", "all", "no-dedupe", "by-kind"}
TEXTS = {
    *("words", "file", "image", "instruction", "task", "after", "before", "camera", "near"),
    *("min-size", "duration", "orientation", "sort", "rerank", "rerank-budget", "reranker"),
    *("place", "title", "author", "rating", "page", "language"),
}


class NoSuchSearch(QvsearchError):
    """The library has no saved search of that name."""


class DamagedSearch(QvsearchError):
    """The file of a saved search is not one that qvsearch wrote."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the saved search in {path} is damaged ({reason}); delete it with:"
            f" qvsearch searches delete {quote(path.stem)}{library_option(path.parent.parent)}"
        )
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A query with its options as `search` takes them, by name without dashes.

    `words` or `file` is the query; without them files are listed. Paths are absolute, and bytes
    that are not UTF-8 are in them as `os.fsdecode` returns them. Values equal to the defaults are
    absent. `saved` and `used` are ISO 8601 in UTC. If it cannot be read, `problem` is the reason,
    and `name` that of its file.
    """

    name: str
    options: Options
    saved: str = ""
    used: str | None = None
    problem: str | None = None


def check_name(name: str) -> str:
    """Return a valid name; raises QvsearchError for another."""
    name = name.strip().removeprefix(MARK)
    reason = ""
    if not name:
        reason = "it is empty"
    elif not name.isprintable():
        reason = "it has a character that is not printed"
    elif len(name) > LONGEST_NAME:
        reason = f"it has {len(name):,} characters, and at most {LONGEST_NAME} are kept"
    if reason:
        raise QvsearchError(
            f"{name!r} cannot be the name of a saved search: {reason}; give another one"
        )
    return name


def read_searches(folder: Path) -> list[SavedSearch]:
    """Return the saved searches of a library's folder by name, with those that are damaged."""
    files = sorted((folder / SEARCHES).glob(f"[!.]*{DEFINITION}"))
    return sorted(_all(files), key=lambda each: each.name.casefold())


def _all(files: list[Path]) -> Iterator[SavedSearch]:
    for path in files:
        try:
            yield _read(path)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except DamagedSearch as error:
            yield SavedSearch(path.stem, {}, problem=str(error))


def read_search(folder: Path, name: str) -> SavedSearch:
    """Return a saved search; raises NoSuchSearch or DamagedSearch."""
    try:
        return _read(_path(folder, name))
    except FileNotFoundError as error:
        raise NoSuchSearch(_absence(folder, name)) from error


def write_search(folder: Path, search: SavedSearch) -> None:
    """Write a saved search, in the place of one of its name; not into a shared table."""
    check_local(folder)
    make_folder(folder / SEARCHES)
    record = {
        "version": VERSION,
        "name": search.name,
        "saved": search.saved,
        "used": search.used,
        "options": dict(search.options),
    }
    # the escapes of `json` keep bytes of paths that are not UTF-8
    write_file(_path(folder, search.name), json.dumps(record, indent=1).encode() + b"\n")


def delete_search(folder: Path, name: str) -> None:
    """Delete a saved search, damaged or not; raises NoSuchSearch."""
    for path in (_path(folder, name), folder / SEARCHES / f"{name}{DEFINITION}"):
        if path.parent == folder / SEARCHES and path.is_file():
            path.unlink()
            remove_file(path.with_suffix(SEEN))
            with suppress(OSError):  # others are in it
                path.parent.rmdir()
            return
    raise NoSuchSearch(_absence(folder, name))


def damaged_searches(folder: Path) -> list[DamagedSearch]:
    """Return the damage of a library's saved searches; what they have seen is not read."""
    damage = []
    for path in sorted((folder / SEARCHES).glob(f"[!.]*{DEFINITION}")):
        try:
            _read(path)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except DamagedSearch as error:
            damage.append(error)
    return damage


def is_search_file(path: Path) -> bool:
    """Return whether a file of the folder of saved searches has a name that qvsearch gives."""
    return path.suffix in (DEFINITION, SEEN) and len(path.stem) == _KEY


def seen_path(folder: Path, name: str) -> Path:
    """Return the path of the list of files that a saved search has seen."""
    return _path(folder, name).with_suffix(SEEN)


def now() -> str:
    """Return the present time as searches keep it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_KEY = 32  # hexadecimal digits; a name may be no name of a file


def _path(folder: Path, name: str) -> Path:
    key = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_KEY]
    return folder / SEARCHES / f"{key}{DEFINITION}"


def _absence(folder: Path, name: str) -> str:
    names = [each.name for each in read_searches(folder) if each.problem is None]
    by_case = {each.casefold(): each for each in names}
    near = get_close_matches(name.casefold(), by_case, 1)
    likely = f" did you mean {MARK}{by_case[near[0]]}?" if near else ""
    there = f" there are: {', '.join(names)}" if names else " save one with: --save NAME"
    return f"no saved search {name};{likely}{there}"


def _read(path: Path) -> SavedSearch:
    """Return the search of a file; raises DamagedSearch, or FileNotFoundError."""
    try:
        search = _parsed(read_start(path, LARGEST + 1))
        if _path(path.parent.parent, search.name) != path:
            raise ValueError("its file has another name")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedSearch(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DamagedSearch(path, str(error)) from error
    return search


def _parsed(data: bytes) -> SavedSearch:
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST:,} bytes")
    record = json.loads(data)
    match record:
        case {"version": int(version)} if version > VERSION:
            raise ValueError("a newer qvsearch wrote it")
        case {
            "version": int(),
            "name": str(name),
            "saved": str(saved),
            "used": str() | None as used,
            "options": dict(options),
        }:
            pass
        case _:
            raise ValueError("a field is missing")
    if not name.isprintable() or not all(
        each is None or each.isprintable() for each in (saved, used)
    ):
        raise ValueError("a text in it is not printable")
    for option, value in options.items():
        if not _is_valid(option, value):
            raise ValueError(f"its option {option!r} is invalid")
    return SavedSearch(name, options, saved, used)


def _is_valid(option: str, value: object) -> bool:
    if option in FLAGS:
        return value is True
    if option in NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if option not in LISTS | TEXTS:
        return False
    texts = value if option in LISTS else [value]
    return isinstance(texts, list) and all(
        isinstance(text, str)
        and "\0" not in text
        and (option not in PATHS or Path(text).is_absolute())
        for text in texts
    )


def rename_search(folder: Path, name: str, new: str) -> None:
    """Rename a saved search; raises NoSuchSearch, or QvsearchError if the new name is in use."""
    search = read_search(folder, name)
    if _path(folder, new).exists():
        raise QvsearchError(f"there is a saved search {new} already; give another name")
    seen = seen_path(folder, name)
    if seen.exists():
        write_file(seen_path(folder, new), seen.read_bytes())
    write_search(folder, replace(search, name=new))
    delete_search(folder, name)


def move_paths(folder: Path, moved: Callable[[bytes], bytes]) -> None:
    """Give the files and folders in all saved searches the paths that `moved` returns."""

    def new(name: str, value: Value) -> Value:
        match value:
            case str() if name in PATHS:
                return os.fsdecode(moved(os.fsencode(value)))
            case list() if name in PATHS:
                return [os.fsdecode(moved(os.fsencode(each))) for each in value]
            case _:
                return value

    for search in read_searches(folder):
        options = {name: new(name, value) for name, value in search.options.items()}
        if options != search.options:
            write_search(folder, replace(search, options=options))


def option_texts(search: SavedSearch) -> Iterator[str]:
    """Yield the parts of the command line of a saved search, quoted for a shell."""
    for name, value in search.options.items():
        if name in ("words", "file"):
            yield quote(str(value))
        elif name in FLAGS:
            yield f"--{name}"
        else:
            for each in value if isinstance(value, list) else [value]:
                yield f"--{name} {quote(str(each))}"
