"""Reads training data from files: pairs of a query and what answers it, and hard negatives."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.formats import json_objects, path_fields, read_path
from qvsearch.tasks.inputs import TaskInput, file_input, first_reason, parse_dictionary
from qvsearch.types import Kind, Skipped, is_file_name, kind_of

FORMS = (
    "a .csv, .tsv or .jsonl file, COCO captions as .json, or a folder of pictures, each with a"
    " caption in a .txt file of its name"
)
LEAST_DOCUMENTS = 4  # two to train with and two to evaluate
MOST_HELD_OUT = 200  # documents; more make each evaluation longer, and hardly more exact
LONGEST_CELL = 10_000_000  # characters; the csv module's own limit is 131,072


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, the document that answers it, and hard negatives, which do not."""

    query: TaskInput
    positive: TaskInput
    negatives: tuple[TaskInput, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pairs in the order of their file, and what could not be used, each with its place."""

    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def digest(self) -> str:
        """A hash of all pairs, paths included; the content of the files is not read."""
        return hashlib.sha256(repr(self.pairs).encode("utf-8", "surrogatepass")).hexdigest()


def read_pairs(source: Path, instruction: str, images: Path | None = None) -> TrainingData:
    """Read pairs from a file or a folder.

    `instruction` is that of queries without one of their own. `images` is the folder of pictures
    that COCO names; the paths in other files are relative to the file. A line that cannot be used
    is a Skipped with its number, and so is a missing file. Raises QvsearchError for anything else,
    and if no pair can be used.
    """
    judged: list[tuple[Pair, bool]] = []
    skipped: list[Skipped] = []
    for row in _rows(source, images):
        if isinstance(row, Skipped):
            skipped.append(row)
            continue
        try:
            judged.append((row.pair(instruction), row.is_answer))
        except QvsearchError as error:
            skipped.append(_skipped(row.name, str(error)))
    data = TrainingData(tuple(_with_judged(judged)), tuple(skipped))
    if not data.pairs:
        raise QvsearchError(f"{source} has no usable pairs{first_reason(skipped)}")
    return data


def split(data: TrainingData, share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train with and those to evaluate.

    No document of a pair to evaluate is trained with, not even as a negative. Raises QvsearchError
    if there are too few different documents.
    """
    documents = list(dict.fromkeys(pair.positive for pair in data.pairs))
    if len(documents) < LEAST_DOCUMENTS:
        left_out = f"; not usable{first_reason(data.skipped)}" if data.skipped else ""
        raise QvsearchError(
            f"{len(documents)} different documents in {len(data.pairs)} usable pairs are too few;"
            f" training needs at least {LEAST_DOCUMENTS}{left_out}"
        )
    count = min(max(2, round(share * len(documents))), MOST_HELD_OUT, len(documents) - 2)
    order = np.random.default_rng(seed).permutation(len(documents))
    held_out = {documents[place] for place in order[:count]}
    train = [
        replace(pair, negatives=tuple(each for each in pair.negatives if each not in held_out))
        for pair in data.pairs
        if pair.positive not in held_out
    ]
    return train, [pair for pair in data.pairs if pair.positive in held_out]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a file: its place, its fields, and the folder that its paths are relative to."""

    name: str
    fields: Mapping[str, Any]
    folder: bytes

    @property
    def is_answer(self) -> bool:
        """Whether its document answers the query; False if it was judged irrelevant."""
        value = self.fields.get("relevant", True)
        if isinstance(value, str):  # of a table
            return value.strip().lower() not in ("false", "0")
        return value not in (False, 0)

    def pair(self, instruction: str) -> Pair:
        """Return its query, document and negatives; raises QvsearchError if it has none."""
        if "query" not in self.fields:
            raise QvsearchError("it has no query")
        own = self.fields.get("instruction") or instruction
        query = self._input("query", self.fields["query"], str(own))
        negatives = [
            self._input(key, each)
            for key in sorted(self.fields)
            if key.startswith("negative")
            for each in self._listed(key)
        ]
        return Pair(query, self._document(), tuple(negatives))

    def _document(self) -> TaskInput:
        if "positive" in self.fields:
            return self._input("positive", self.fields["positive"])
        try:
            path = read_path(dict(self.fields))
        except ValueError as error:
            raise QvsearchError("it has no positive and no path") from error
        return _existing("path", os.path.join(self.folder, path), None)

    def _listed(self, key: str) -> list[Any]:
        value = self.fields[key]
        if value in (None, ""):  # a row of a table may have fewer negatives than others
            return []
        return value if isinstance(value, list) else [value]

    def _input(self, key: str, value: object, instruction: str | None = None) -> TaskInput:
        """Return words, a file, or both from a dictionary; errors begin with the key."""
        if isinstance(value, str):
            return _words_or_file(key, value, self.folder, instruction)
        each = parse_dictionary(key, value, self.folder)
        for path in each.files:
            _existing(key, path, None)
        # the same name for the same content, by which inputs are compared
        own = (*each.files, (each.text or "").encode())[0]
        return replace(each, name=own, instruction=each.instruction or instruction)


def _with_judged(judged: Sequence[tuple[Pair, bool]]) -> Iterator[Pair]:
    """Yield the answers, each with the documents that were judged irrelevant for its query."""
    wrong: dict[TaskInput, list[TaskInput]] = {}
    for pair, is_answer in judged:
        if not is_answer:
            wrong.setdefault(pair.query, []).append(pair.positive)
    for pair, is_answer in judged:
        if is_answer:
            more = (each for each in wrong.get(pair.query, ()) if each != pair.positive)
            yield replace(pair, negatives=(*pair.negatives, *more))


def _rows(source: Path, images: Path | None) -> Iterator[_Row | Skipped]:
    """Return the rows of a file or a folder; raises QvsearchError for another form."""
    if source.is_dir():
        return _folder_rows(source)
    if not source.exists():
        raise QvsearchError(f"there is no {source}; give {FORMS}")
    match source.suffix.lower():
        case ".csv":
            return _table_rows(source, ",")
        case ".tsv":
            return _table_rows(source, "\t")
        case ".jsonl":
            return _json_rows(source)
        case ".json":
            return _coco_rows(source, images)
    raise QvsearchError(f"{source} has an unsupported form; give {FORMS}")


def _table_rows(source: Path, delimiter: str) -> Iterator[_Row | Skipped]:
    csv.field_size_limit(LONGEST_CELL)
    folder = os.fsencode(source.parent)
    rows = csv.reader(_text(source).splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not {"query", "positive"} <= set(header) and not {"query", "path"} <= set(header):
            raise QvsearchError(
                f"the first line of {source} must name the columns query and positive; it has"
                f" {', '.join(header)[:200] or 'none'}"
            )
        for row in rows:
            name = f"line {rows.line_num} of {source.name}"
            if not row:
                continue
            if len(row) != len(header):
                yield _skipped(name, f"it has {len(row)} columns, not {len(header)}")
            else:
                yield _Row(name, dict(zip(header, row, strict=True)), folder)
    except csv.Error as error:
        raise QvsearchError(f"line {rows.line_num} of {source} is not CSV: {error}") from error


def _json_rows(source: Path) -> Iterator[_Row | Skipped]:
    folder = os.fsencode(source.parent)
    for number, fields in json_objects(_text(source).split("\n")):
        name = f"line {number} of {source.name}"
        yield _skipped(name, fields) if isinstance(fields, str) else _Row(name, fields, folder)


def _coco_rows(source: Path, images: Path | None) -> Iterator[_Row | Skipped]:
    """Yield the captions of COCO's format: `images` with ids and names, and `annotations`."""
    try:
        content = json.loads(_text(source))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        annotations = list(content["annotations"])
    except (ValueError, RecursionError) as error:
        raise QvsearchError(f"{source} is not JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise QvsearchError(
            f"{source} is not COCO's captions: it needs a list `images` with `id` and `file_name`,"
            " and a list `annotations`"
        ) from error
    folder = os.fsencode(images or source.parent)
    for number, each in enumerate(annotations, 1):
        name = f"annotation {number} of {source.name}"
        match each:
            case {"image_id": image, "caption": str(caption)} if image in names:
                fields = {"query": caption, "path": names[image]}
                yield _Row(name, fields, folder)
            case _:
                yield _skipped(name, "it has no caption, or no image of this file")


def _folder_rows(source: Path) -> Iterator[_Row | Skipped]:
    """Yield each file but texts of a folder, and the words in the .txt file of its name."""
    for path in sorted(source.rglob("*")):
        if kind_of(os.fsencode(path)) in (Kind.TEXT, None) or not path.is_file():
            continue
        caption, name = path.with_suffix(".txt"), os.fspath(path)
        if not caption.is_file():
            yield _skipped(name, f"it has no caption {caption.name} beside it")
            continue
        try:
            words = _text(caption).strip()
        except QvsearchError as error:
            yield _skipped(name, str(error))
            continue
        fields = {"query": {"text": words}, **path_fields("path", os.fsencode(path))}
        yield _Row(name, fields, os.fsencode(source))


def _skipped(name: str, reason: str) -> Skipped:
    return Skipped(os.fsencode(name), reason)


def _words_or_file(name: str, text: str, folder: bytes, instruction: str | None) -> TaskInput:
    """Return a file if one has this name, or if the text is one word with the suffix of a file."""
    words = text.strip()
    if not words:
        raise QvsearchError(f"{name} is empty")
    try:
        path = os.path.join(folder, words.encode())
    except UnicodeEncodeError as error:
        raise QvsearchError(f"{name} has a lone surrogate, which is not a character") from error
    is_name = is_file_name(path) and len(words.split()) == 1
    if is_name or (kind_of(path) is not None and os.path.lexists(path)):
        return _existing(name, path, instruction)
    return TaskInput(words.encode(), words, instruction=instruction)


def _existing(name: str, path: bytes, instruction: str | None) -> TaskInput:
    path = os.path.abspath(path)
    if not Path(os.fsdecode(path)).is_file():
        raise QvsearchError(f"{name}: there is no file {os.fsdecode(path)}")
    return file_input(path, instruction)


def _text(source: Path) -> str:
    """Return a file's text; raises QvsearchError unless it is UTF-8."""
    try:
        return source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QvsearchError(f"{source} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise QvsearchError(f"{source} cannot be read: {error.strerror}") from error
