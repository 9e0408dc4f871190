"""Labels and their phrasings, from the command line, a file of lines, or JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import read_start
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Vectors

LARGEST_FILE = 2**20  # bytes; a thousand labels with ten phrasings each have under 500,000
MOST_LABELS = 1000  # a library of 500,000 files then needs 2 GB for their scores


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and the words that stand for it; by default its name."""

    name: str
    phrasings: tuple[str, ...]


def parse_label(text: str, where: str = "--label") -> Label:
    """Return the label of `name` or `name: phrasing | phrasing`.

    Raises QvsearchError, which begins with `where`, for one that is empty or cannot be printed.
    """
    name, colon, rest = text.partition(": ")
    if not colon:
        name, colon = text.removesuffix(":"), ":" if text.endswith(":") else ""
    if "|" in name:
        raise QvsearchError(
            f"{where}: the label {name.strip()!r} has a |; write: name: phrasing | phrasing"
        )
    return new_label(name, rest.split("|") if colon else [name], where)


def read_labels(path: bytes) -> list[Label]:
    """Return the labels of a file: one a line, or a JSON object of phrasings or list of names.

    Raises QvsearchError for a file without labels, and with the number of the line for a label that
    cannot be read.
    """
    name = os.fsdecode(path)
    try:
        data = read_start(path, LARGEST_FILE + 1)
    except OSError as error:
        raise QvsearchError(f"--labels {name}: {system_reason(error)}") from error
    if len(data) > LARGEST_FILE:
        raise QvsearchError(f"--labels {name} is larger than {LARGEST_FILE:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QvsearchError(f"--labels {name} is not text in UTF-8; save it as UTF-8") from error
    if text.lstrip()[:1] in ("{", "["):
        labels = list(_from_json(text, name))
    else:
        lines = enumerate(text.splitlines(), 1)
        labels = [parse_label(line, f"{name}, line {at}") for at, line in lines if line.strip()]
    if not labels:
        raise QvsearchError(f"--labels {name} has no label; write one a line")
    return labels


def _from_json(text: str, name: str) -> Iterator[Label]:
    try:
        # an object would lose all but the last of two equal names
        content = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise QvsearchError(f"--labels {name} is not JSON: {error}") from error
    pairs = content.pairs if isinstance(content, _Pairs) else [(each, None) for each in content]
    for label, value in pairs:
        phrasings = [label] if value is None else [value] if isinstance(value, str) else value
        if not (
            isinstance(label, str)
            and isinstance(phrasings, list)
            and all(isinstance(each, str) for each in phrasings)
        ):
            raise QvsearchError(
                f'--labels {name}: {label!r} has no list of phrasings; write {{"cat": ["a cat"]}}'
            )
        yield new_label(label, phrasings, name)


class _Pairs:
    """A JSON object with all of its pairs."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


def new_label(name: str, phrasings: Sequence[str], where: str) -> Label:
    """Return a label; raises QvsearchError, which begins with `where`, for an empty one."""
    name, words = name.strip(), [each.strip() for each in phrasings]
    if not name:
        raise QvsearchError(f"{where}: a label is empty; give it a name")
    if not words or not all(words):
        raise QvsearchError(
            f"{where}: the label {name!r} has an empty phrasing; write {name}: words"
        )
    for each in (name, *words):
        if not each.isprintable():
            raise QvsearchError(f"{where}: {each!r} has characters that cannot be printed")
    return Label(name, tuple(dict.fromkeys(words)))


def check_labels(labels: Sequence[Label], *, single: bool) -> None:
    """Raise QvsearchError for labels that files cannot be divided by.

    `single` allows one label alone, since a file may be without any.
    """
    if not labels:
        raise QvsearchError(
            "there is no label; give --label TEXT, --labels FILE or --examples FOLDER"
        )
    if len(labels) > MOST_LABELS:
        raise QvsearchError(f"there are {len(labels):,} labels; give at most {MOST_LABELS:,}")
    seen: dict[str, str] = {}
    for each in labels:
        key = unicodedata.normalize("NFC", each.name).casefold()
        if key in seen:
            raise QvsearchError(
                f"the label {each.name!r} is given twice; write its phrasings in one line:"
                f" {each.name}: words | words"
            )
        seen[key] = each.name
    if len(labels) == 1 and not single:
        raise QvsearchError(
            f"every file would be {labels[0].name!r}; give another label, or add --unsure"
        )


def as_labels(labels: Iterable[str] | Mapping[str, Sequence[str]]) -> list[Label]:
    """Return the labels of names, or of names with their phrasings."""
    if isinstance(labels, Mapping):
        return [new_label(name, list(words), "labels") for name, words in labels.items()]
    return [parse_label(each, "labels") for each in labels]


def label_vectors(labels: Sequence[Label], embedder: Embedder, instruction: str | None) -> Vectors:
    """Return the unit vector of each label (n, dim): the mean of its phrasings, of length 1 again.

    Averaging phrasings in the space of vectors is prompt ensembling (Radford et al. 2021, CLIP).
    """
    numbered = [(place, words) for place, each in enumerate(labels) for words in each.phrasings]
    rows = embedder.embed(
        [EmbedInput(text=words, instruction=instruction) for _, words in numbered]
    )
    means = []
    for _, group in groupby(zip(numbered, rows, strict=True), key=lambda pair: pair[0][0]):
        means.append(np.mean([row for _, row in group], axis=0))
    vectors = np.stack(means)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
