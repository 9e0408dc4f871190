"""Sets with a score or a label for each input: sentence similarity and classification."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.formats import text_field
from qvsearch.tasks.evaluation.set_files import (
    FORMS,
    MediaFolder,
    bad_line,
    read_rows,
    table_lines,
    text_of,
    words,
)
from qvsearch.tasks.evaluation.sets import Entry, LabelledSet, SentencePairs
from qvsearch.tasks.inputs import file_input
from qvsearch.types import Skipped, kind_of

STS_COLUMNS = 7  # of the STS benchmark's own files: genre, file, year, id, score, two sentences
EXAMPLES, ITEMS = ("train",), ("test", "val", "valid", "validation")  # names of folders, of files


def is_sts_benchmark(path: Path) -> bool:
    """Return whether a file is of the STS benchmark's own form, tabs without a line of names."""
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return False
    with path.open("rb") as file:
        line = file.readline()
    try:
        first = line.decode("utf-8-sig").split("\t")
        return len(first) >= STS_COLUMNS and math.isfinite(float(first[4]))
    except ValueError:
        return False


def read_sts_benchmark(path: Path) -> SentencePairs:
    """Return the pairs of `sts-test.csv` and its like (Cer et al. 2017)."""

    def rows() -> Iterator[tuple[int, tuple[str | None, ...]] | Skipped]:
        for number, cells in table_lines(path, tabs=True):
            if len(cells) < STS_COLUMNS:
                yield bad_line(path, number, f"{len(cells)} columns instead of {STS_COLUMNS}")
            else:
                yield number, (cells[5], cells[6], cells[4], None)

    return _pairs(path, rows())


def read_pairs(path: Path) -> SentencePairs:
    """Return the pairs of the columns sentence1, sentence2 and score; `language` is read, too."""

    def rows() -> Iterator[tuple[int, tuple[str | None, ...]] | Skipped]:
        for each in read_rows(path):
            if isinstance(each, Skipped):
                yield each
                continue
            number, row = each
            names = ("sentence1", "sentence2", "score", "language")
            yield number, tuple(text_of(row, name) for name in names)

    return _pairs(path, rows())


def _pairs(
    path: Path, rows: Iterator[tuple[int, tuple[str | None, ...]] | Skipped]
) -> SentencePairs:
    pairs, scores, left_out = [], [], []
    for each in rows:
        if isinstance(each, Skipped):
            left_out.append(each)
            continue
        number, (first, second, score, language) = each
        try:
            value = float(score or "")
            if not (first and second and first.strip() and second.strip() and math.isfinite(value)):
                raise ValueError
        except ValueError:
            left_out.append(bad_line(path, number, "it is not two texts and a score"))
            continue
        one, two = (
            Entry(f"line {number}", words(f"line {number}", text), language=language)
            for text in (first, second)
        )
        pairs.append((one, two))
        scores.append(value)
    return SentencePairs(path.stem, tuple(pairs), tuple(scores), tuple(left_out))


def read_labels(path: Path, media: Path) -> LabelledSet:
    """Return the inputs of a file with the columns label, and text or file."""
    files, labelled, left_out = MediaFolder(media), [], []
    for each in read_rows(path):
        if isinstance(each, Skipped):
            left_out.append(each)
            continue
        number, row = each
        name = f"line {number}"
        label, text = text_of(row, "label"), text_of(row, "text", "sentence")
        file = text_of(row, "file", "path", "image", "video")
        if label is None or (text or file) is None:
            left_out.append(bad_line(path, number, "it has no label, or neither text nor file"))
            continue
        try:
            if label != text_field(label):
                raise QvsearchError("its label is not UTF-8")
            source = words(name, text) if file is None and text else files.input(file or "")
        except QvsearchError as error:
            left_out.append(bad_line(path, number, str(error).removeprefix(name).lstrip(": ")))
            continue
        labelled.append((Entry(name, source, language=text_of(row, "language", "lang")), label))
    return _labelled(path.stem, labelled, [], left_out)


def read_class_files(folder: Path) -> LabelledSet:
    """Return the texts of test.csv, with examples in train.csv (AG News, Zhang et al. 2015).

    A line has the number of the class, from 1, and texts, which become one; classes.txt has the
    names of the classes.
    """
    try:
        names = (folder / "classes.txt").read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QvsearchError(f"{folder / 'classes.txt'} is not UTF-8") from error
    labels = [each.strip() for each in names.split("\n") if each.strip()]
    left_out: list[Skipped] = []

    def rows(path: Path) -> Iterator[tuple[Entry, str]]:
        for number, (first, *texts) in table_lines(path):
            text = " ".join(filter(None, map(str.strip, texts)))
            if not first.isdecimal() or not 1 <= int(first) <= len(labels) or not text:
                reason = f"it is not a number from 1 to {len(labels)} and a text"
                left_out.append(bad_line(path, number, reason))
                continue
            yield (
                Entry(f"line {number} of {path.name}", words(path.name, text)),
                labels[int(first) - 1],
            )

    items = list(rows(_one_of(folder, "test.csv")))
    train = folder / "train.csv"
    return _labelled(folder.name, items, list(rows(train)) if train.exists() else [], left_out)


def _one_of(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise QvsearchError(f"there is no {folder / name}, with a class and a text in each line")
    return folder / name


def read_class_folders(folder: Path) -> LabelledSet:
    """Return the files of folders that are named after their classes.

    These may be in a folder test/, beside a folder train/ with examples. Underscores in names are
    spaces. Raises QvsearchError without such folders.
    """
    parts = {each.name: each for each in folder.iterdir() if each.is_dir()}
    items = next((parts[name] for name in ITEMS if name in parts), folder)
    examples = next((parts[name] for name in EXAMPLES if name in parts), None)
    left_out: list[Skipped] = []
    found = _files_by_label(items, left_out)
    if not found:
        raise QvsearchError(f"{folder} is not a set; give {FORMS}")
    learnt = [] if examples is None else _files_by_label(examples, left_out)
    return _labelled(folder.name, found, learnt, left_out)


def _files_by_label(folder: Path, left_out: list[Skipped]) -> list[tuple[Entry, str]]:
    found = []
    for place in sorted(each for each in folder.iterdir() if each.is_dir()):
        if place.name.startswith("."):
            continue
        label = place.name.replace("_", " ")
        if label != text_field(label):
            left_out.append(Skipped(os.fsencode(place), "the name of a label is not UTF-8"))
            continue
        for path in sorted(each for each in place.iterdir() if each.is_file()):
            name = os.path.abspath(os.fsencode(path))
            if kind_of(name) is None:
                left_out.append(Skipped(name, "unsupported suffix"))
                continue
            found.append((Entry(os.fsdecode(name), file_input(name)), label))
    return found


def _labelled(
    name: str,
    items: list[tuple[Entry, str]],
    examples: list[tuple[Entry, str]],
    left_out: list[Skipped],
) -> LabelledSet:
    labels = sorted({label for _, label in (*items, *examples)})
    numbers = {label: number for number, label in enumerate(labels)}
    return LabelledSet(
        name,
        tuple(labels),
        tuple(entry for entry, _ in items),
        tuple(numbers[label] for _, label in items),
        tuple(entry for entry, _ in examples),
        tuple(numbers[label] for _, label in examples),
        tuple(left_out),
    )
