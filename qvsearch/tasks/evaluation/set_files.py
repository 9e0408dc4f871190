"""Lines of CSV, TSV and JSON lines files as records, and the files that they name."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.formats import json_objects
from qvsearch.tasks.inputs import TaskInput, file_input, parse_dictionary
from qvsearch.types import Skipped, kind_of

FORMS = (
    "a folder of BEIR, MS MARCO, VQAv2, AG News, or of a folder for each label, or a JSON,"
    " JSON lines, CSV or TSV file"
)

LONGEST = 1 << 24  # characters of a field; a passage is no longer
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """The records of a file: CSV or TSV with a line of names, or JSON lines.

    Iterating yields the number of each line with its record, or a Skipped with the reason. Names
    of columns are in lower case.
    """

    path: Path
    columns: frozenset[str]

    def __iter__(self) -> Iterator[tuple[int, Row] | Skipped]:
        """Yield the records of the file, which is read anew; blank lines are left out."""
        if is_json_lines(self.path):
            yield from _json_lines(self.path)
            return
        names: list[str] | None = None
        for number, cells in table_lines(self.path):
            if names is None:
                names = [each.strip().lower() for each in cells]
            elif len(cells) != len(names):
                yield bad_line(self.path, number, f"{len(cells)} columns instead of {len(names)}")
            else:
                yield number, dict(zip(names, cells, strict=True))


def read_rows(path: Path) -> Rows:
    """Return the records of a file; raises QvsearchError for other suffixes and empty files."""
    if is_json_lines(path):
        # of all lines, since the first one may lack a field
        named = {
            tuple(each[1]) for each in _json_lines(path) if not isinstance(each, Skipped)
        }  # a set, since most lines have the same names
        if not named:
            raise QvsearchError(f"{path} has no line of JSON")
        return Rows(path, frozenset[str]().union(*named))
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise QvsearchError(f"{path} has an unknown suffix; give .json, .jsonl, .csv or .tsv")
    for _, cells in table_lines(path):
        return Rows(path, frozenset(each.strip().lower() for each in cells))
    raise QvsearchError(f"{path} is empty")


def is_json_lines(path: Path) -> bool:
    """Return whether the suffix is that of JSON lines."""
    return path.suffix.lower() in (".jsonl", ".ndjson")


def table_lines(path: Path, tabs: bool | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank, with its cells.

    `tabs` without quotes separate the cells of a .tsv and a .txt file, commas those of others.
    Raises QvsearchError, which names the line, for text that is not UTF-8 and broken quotes.
    """
    tabs = path.suffix.lower() in (".tsv", ".txt") if tabs is None else tabs
    csv.field_size_limit(LONGEST)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = (
            csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if tabs
            else csv.reader(file, strict=True)
        )
        try:
            for cells in reader:
                if any(each.strip() for each in cells):
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            message = f"line {_line_that_is_not_utf8(path)} of {path} is not UTF-8"
            raise QvsearchError(message) from error
        except csv.Error as error:
            raise QvsearchError(f"line {reader.line_num} of {path} is not CSV: {error}") from error


def _line_that_is_not_utf8(path: Path) -> int:
    """Return its number; a text file is decoded in blocks, whose error does not tell."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


def _json_lines(path: Path) -> Iterator[tuple[int, Row] | Skipped]:
    with path.open("rb") as file:
        for number, record in json_objects(file):
            yield bad_line(path, number, record) if isinstance(record, str) else (number, record)


def bad_line(path: Path, number: int, reason: str) -> Skipped:
    """Return the Skipped of a line."""
    return Skipped(os.fsencode(f"line {number} of {path.name}"), reason)


def text_of(row: Row, *names: str) -> str | None:
    """Return the first of these fields that is not blank, as text; None without one."""
    for name in names:
        value = row.get(name)
        if isinstance(value, (str, int, float)) and str(value).strip():
            return str(value).strip()
    return None


def words(name: str, text: str, instruction: str | None = None) -> TaskInput:
    """Return the input of a text."""
    return parse_dictionary(name, {"text": text, "instruction": instruction}, b"")


class MediaFolder:
    """The folder of the files that a set names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stems: dict[Path, dict[str, Path]] = {}

    def input(self, name: str, *folders: str) -> TaskInput:
        """Return the input of a file by its relative path, in the first of these folders with it.

        A name without a suffix is that of the one file with this stem, e.g. a video's id. Another
        file that does not exist is an input all the same, which is reported when it is read.
        Raises QvsearchError for an unsupported suffix, and for a stem without a file.
        """
        if "\0" in name or not name:
            raise QvsearchError(f"{name!r} is not a path")
        try:
            return self._input(name, folders)
        except (OSError, UnicodeEncodeError) as error:  # too long, or half a surrogate pair
            raise QvsearchError(f"{name[:80]!r} is not a path") from error

    def _input(self, name: str, folders: Sequence[str]) -> TaskInput:
        places = [self._folder / each for each in (*folders, "")]
        path = next((each / name for each in places if (each / name).exists()), self._folder / name)
        if kind_of(os.fsencode(path)) is None:
            found = [each for place in places if (each := self._by_stem(place).get(name))]
            if not found and not path.suffix:
                raise QvsearchError(f"there is no file {name}.* in {self._folder}")
            path = found[0] if found else path
        return file_input(os.path.abspath(os.fsencode(path)))

    def _by_stem(self, folder: Path) -> dict[str, Path]:
        """Return the supported files of a folder by their names without suffix."""
        if folder not in self._stems:
            self._stems[folder] = {
                path.stem: path
                for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
                if kind_of(os.fsencode(path.name))
            }
        return self._stems[folder]


def load_json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return the content of a JSON file; raises QvsearchError, which names the line."""
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise QvsearchError(f"line {error.lineno} of {path} is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise QvsearchError(f"{path} is not JSON: {error}") from error
