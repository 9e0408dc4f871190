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
from qvsearch.formats import path_field, read_path
from qvsearch.tasks.inputs import TaskInput, file_input, parse_dictionary
from qvsearch.types import Kind, Skipped, kind_of

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
    is a Skipped with its number, and so is a missing file. Raises QvsearchError for anything else.
    """
    read = _reader(source, images)
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    for name, parse in read:
        try:
            pairs += parse(instruction)
        except QvsearchError as error:
            reason = str(error).removeprefix(name).lstrip(": ")
            skipped.append(Skipped(os.fsencode(name), reason))
    return TrainingData(tuple(_with_judged(pairs)), tuple(skipped))


def split(data: TrainingData, share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train with and those to evaluate.

    No document of a pair to evaluate is trained with, not even as a negative. Raises QvsearchError
    if there are too few different documents.
    """
    documents = list(dict.fromkeys(pair.positive for pair in data.pairs))
    if len(documents) < LEAST_DOCUMENTS:
        raise QvsearchError(
            f"the data have {len(data.pairs)} usable pairs with {len(documents)} different"
            f" documents; training needs at least {LEAST_DOCUMENTS}"
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


class _Row:
    """One row of a file: its fields, and the folder that its paths are relative to."""

    def __init__(self, name: str, fields: Mapping[str, Any], folder: bytes) -> None:
        self._name, self._fields, self._folder = name, fields, folder

    def __call__(self, instruction: str) -> list[Pair]:
        """Return its pair; raises QvsearchError if it has none."""
        if "query" not in self._fields:
            raise QvsearchError(f"{self._name}: it has no query")
        own = self._fields.get("instruction") or instruction
        query = self._input("query", self._fields["query"], str(own))
        document = self._document()
        negatives = [
            self._input(key, each, None)
            for key in sorted(self._fields)
            if key.startswith("negative")
            for each in self._listed(key)
        ]
        if self._fields.get("relevant") in (False, 0):
            return [_Judged(query, document)]
        return [Pair(query, document, tuple(negatives))]

    def _document(self) -> TaskInput:
        if "positive" in self._fields:
            return self._input("positive", self._fields["positive"], None)
        try:
            path = read_path(dict(self._fields))
        except ValueError as error:
            raise QvsearchError(f"{self._name}: it has no positive and no path") from error
        return _existing(self._name, os.path.join(self._folder, path), None)

    def _listed(self, key: str) -> list[Any]:
        value = self._fields[key]
        if value in (None, ""):  # a row of a table may have fewer negatives than others
            return []
        return value if isinstance(value, list) else [value]

    def _input(self, key: str, value: object, instruction: str | None) -> TaskInput:
        """Return words, a file, or both from a dictionary."""
        name = f"{self._name}: {key}"
        if isinstance(value, str):
            return _words_or_file(name, value, self._folder, instruction)
        each = parse_dictionary(name, value, self._folder)
        for path in each.files:
            _existing(name, path, None)
        # the same name for the same content, by which inputs are compared
        own = (*each.files, (each.text or "").encode())[0]
        return replace(each, name=own, instruction=each.instruction or instruction)


class _Judged(Pair):
    """A document that does not answer its query."""


def _with_judged(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield the pairs, each with the documents that were judged irrelevant for its query."""
    wrong: dict[TaskInput, list[TaskInput]] = {}
    for pair in pairs:
        if isinstance(pair, _Judged):
            wrong.setdefault(pair.query, []).append(pair.positive)
    for pair in pairs:
        if not isinstance(pair, _Judged):
            more = (each for each in wrong.get(pair.query, ()) if each != pair.positive)
            yield Pair(pair.query, pair.positive, (*pair.negatives, *more))


def _reader(source: Path, images: Path | None) -> Iterator[tuple[str, Any]]:
    """Return the rows of a file or a folder, each with its name; raises QvsearchError."""
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


def _table_rows(source: Path, delimiter: str) -> Iterator[tuple[str, Any]]:
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
                yield name, _refusal(name, f"it has {len(row)} columns, not {len(header)}")
            else:
                yield name, _Row(name, dict(zip(header, row, strict=True)), folder)
    except csv.Error as error:
        raise QvsearchError(f"line {rows.line_num} of {source} is not CSV: {error}") from error


def _json_rows(source: Path) -> Iterator[tuple[str, Any]]:
    folder = os.fsencode(source.parent)
    for number, line in enumerate(_text(source).split("\n"), 1):
        name = f"line {number} of {source.name}"
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield name, _refusal(name, f"it is not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield name, _Row(name, fields, folder)
        else:
            yield name, _refusal(name, "it is not a JSON object")


def _coco_rows(source: Path, images: Path | None) -> Iterator[tuple[str, Any]]:
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
                yield name, _Row(name, fields, folder)
            case _:
                yield name, _refusal(name, "it has no caption, or no image of this file")


def _folder_rows(source: Path) -> Iterator[tuple[str, Any]]:
    """Yield each picture or video of a folder, and the words in the .txt file of its name."""
    for path in sorted(source.rglob("*")):
        if kind_of(os.fsencode(path)) not in (Kind.IMAGE, Kind.VIDEO) or not path.is_file():
            continue
        caption, name = path.with_suffix(".txt"), os.fspath(path)
        if not caption.is_file():
            yield name, _refusal(name, f"it has no caption {caption.name} beside it")
            continue
        try:
            words = _text(caption).strip()
        except QvsearchError as error:
            yield name, _refusal(name, str(error))
            continue
        fields = {"query": {"text": words}, **path_field(os.fsencode(path))}
        yield name, _Row(name, fields, os.fsencode(source))


def _refusal(name: str, reason: str) -> Any:  # noqa: ANN401
    def parse(_: str) -> list[Pair]:
        raise QvsearchError(f"{name}: {reason}")

    return parse


def _words_or_file(name: str, text: str, folder: bytes, instruction: str | None) -> TaskInput:
    """Return a file if one has this name, or if the text is one word with the suffix of a file."""
    words = text.strip()
    if not words:
        raise QvsearchError(f"{name} is empty")
    try:
        path = os.path.join(folder, words.encode())
    except UnicodeEncodeError as error:
        raise QvsearchError(f"{name} has a lone surrogate, which is not a character") from error
    if kind_of(path) is not None and (len(words.split()) == 1 or os.path.lexists(path)):
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
