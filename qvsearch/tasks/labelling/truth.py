"""True labels of files, from tables and folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import read_start
from qvsearch.formats import json_objects
from qvsearch.tasks.agreement import Scores, set_scores
from qvsearch.tasks.labelling.file_vectors import files_below
from qvsearch.types import Item

if TYPE_CHECKING:
    from qvsearch.tasks.labelling.classify import Labelled

LARGEST_FILE = 2**28  # bytes: millions of lines
DELIMITERS = {b".csv": ",", b".tsv": "\t"}
LINES = (b".jsonl", b".ndjson", b".json")


@dataclass(frozen=True, slots=True)
class Agreement:
    """The scores of labelled files; `unknown` are true labels that none of them could get."""

    scores: Scores
    unknown: tuple[str, ...]


def agreement(
    results: Iterable[Labelled],
    truth: Mapping[bytes, AbstractSet[str]],
    labels: AbstractSet[str],
    *,
    cuts: bool,
) -> Agreement | None:
    """Compare labels with the truth, over the files that have one.

    With `cuts`, which allows a file no label, one whose true labels are unknown should have none.
    Otherwise such a file counts as wrong. None if no file has a true label.
    """
    pairs = [(set(each.labels), truth[each.name]) for each in results if each.name in truth]
    if not pairs:
        return None
    unknown = sorted({label for _, true in pairs for label in true} - labels)
    if cuts:
        pairs = [(chosen, set(true & labels)) for chosen, true in pairs]
    return Agreement(set_scores(pairs), tuple(unknown))


def read_truth(place: bytes) -> dict[bytes, set[str]]:
    """Return the true labels of files by absolute path, and of words.

    `place` is a table with the columns `path` or `text`, and `label`, or a folder with a folder of
    files for each label. Paths are relative to the table. A file on several lines has all their
    labels, and an empty label is none. Raises QvsearchError with the number of a wrong line.
    """
    if Path(os.fsdecode(place)).is_dir():
        return _folder_truth(place)
    truth: dict[bytes, set[str]] = {}
    for number, record in _records(place):
        where = f"--truth {os.fsdecode(place)}, line {number}"
        label = record.get("label")
        if not isinstance(label, str):
            raise QvsearchError(f"{where}: there is no label")
        match record:
            case {"path": str(path)} if path and "\0" not in path:
                name = os.path.abspath(os.path.join(os.path.dirname(place), os.fsencode(path)))
            case {"text": str(text)} if text:
                name = text.encode(errors="replace")
            case _:
                raise QvsearchError(f"{where}: there is neither a path nor a text")
        truth.setdefault(name, set()).update({label.strip()} - {""})
    if not truth:
        raise QvsearchError(f"--truth {os.fsdecode(place)} is empty; it needs a path and a label")
    return truth


def _folder_truth(folder: bytes) -> dict[bytes, set[str]]:
    truth = {}
    for each in files_below(folder):
        label, _, rest = each.path.partition(b"/") if isinstance(each, Item) else (b"", b"", b"")
        if isinstance(each, Item) and rest:
            truth[each.location] = {os.fsdecode(label)}
    if not truth:
        raise QvsearchError(
            f"--truth {os.fsdecode(folder)} has no files in folders; give a folder for each label"
        )
    return truth


def _records(place: bytes) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield each line of a table with its number."""
    name = os.fsdecode(place)
    suffix = os.path.splitext(place)[1].lower()
    if suffix not in (*DELIMITERS, *LINES):
        raise QvsearchError(f"--truth {name}: give a .csv, .tsv or .jsonl file, or a folder")
    try:
        text = read_start(place, LARGEST_FILE).decode("utf-8-sig")
    except OSError as error:
        raise QvsearchError(f"--truth {name}: {system_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise QvsearchError(f"--truth {name} is not text in UTF-8; save it as UTF-8") from error
    if suffix in LINES:
        for number, record in json_objects(text.split("\n")):
            if isinstance(record, str):
                raise QvsearchError(f"--truth {name}, line {number}: {record}")
            yield number, record
        return
    rows = csv.DictReader(StringIO(text, newline=""), delimiter=DELIMITERS[suffix], strict=True)
    try:
        columns = set(rows.fieldnames or ())
        if not ("label" in columns and columns & {"path", "text"}):
            raise QvsearchError(
                f"--truth {name}: its first line must name the columns path (or text) and label"
            )
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise QvsearchError(f"--truth {name}, line {rows.line_num + 1}: {error}") from error
