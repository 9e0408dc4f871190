"""Libraries of texts that people wrote, whose answers are published, with any model.

A few or 1 to 100 % of the rows match a query, or none does: the answers are left out ("none"), or
the query is another dataset's ("foreign").
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from libraries import LARGE, TEXT, Case

from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.calibration import baseline_between, baseline_of
from qvsearch.retrieval.scoring import FETCHED, QUERIES
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.loading import load_embedder, task_fingerprint
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Vectors

CAPTIONS, NOUNS = "captions", "nouns"
SHARES = (0.01, 0.05, 0.2, 0.8, 1.0)
THINGS = (
    *("dog", "horse", "bird", "boat", "bicycle", "car", "ball", "beach", "wave", "mountain"),
    *("street", "building", "crowd", "skateboard", "guitar", "swing", "tree", "rock", "camera"),
    *("helmet", "fountain", "fence", "snowboarder", "swimming pool"),
)
BATCH = 64
ASKED = 200  # queries of a dataset
PICTURES = 5000  # whose captions are rows
GLOSSES = 24_000
NAMED = 60, 8000  # synsets below the noun of a query
SEED = 1
FITTED, MEASURED = 0, 1  # queries of even and of odd number


@dataclass(frozen=True)
class Dataset:
    """Texts, and queries with the rows that answer each; rows `unclear` are left out for each."""

    name: str
    texts: Sequence[str]
    queries: Sequence[str]
    answers: Sequence[np.ndarray]
    unclear: Sequence[np.ndarray]


@dataclass(frozen=True)
class Embedded:
    """A dataset and its vectors: texts (n, dim), queries (m, dim), the same as files (m, dim).

    `backgrounds` (n, 2) are the mean and the spread of each text's scores with generic queries.
    """

    data: Dataset
    texts: Vectors
    queries: Vectors
    files: Vectors
    backgrounds: Vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `datasets` reads."""
    parser.add_argument("--captions", type=Path, metavar="FILE")
    parser.add_argument("--nouns", type=Path, metavar="FOLDER")
    parser.add_argument("--smart", type=Path, nargs=3, action="append", default=[], metavar="FILE")


def datasets(arguments: argparse.Namespace) -> list[Dataset]:
    """Return the datasets whose files are given."""
    rng = np.random.default_rng(SEED)
    sets = [collection(*files) for files in arguments.smart]
    sets += [captions(arguments.captions, rng)] if arguments.captions else []
    sets += [nouns(arguments.nouns, rng)] if arguments.nouns else []
    return sets


def captions(path: Path, rng: np.random.Generator) -> Dataset:
    """Return captions of pictures, given lines of `PICTURE#NUMBER<tab>CAPTION`.

    A caption that names a thing answers it, too. Other captions of its picture are unclear.
    """
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        place, _, text = line.partition("\t")
        found.setdefault(place.partition("#")[0], []).append(text)
    pictures = [found[each] for each in rng.permutation(sorted(found))[:PICTURES]]
    texts = [text for _, *others in pictures for text in others]
    picture = np.repeat(np.arange(len(pictures)), [len(each) - 1 for each in pictures])
    queries = [first for first, *_ in pictures[:ASKED]]
    answers = [np.flatnonzero(picture == n) for n in range(len(queries))]
    unclear = [np.zeros(0, np.int64)] * len(queries)
    for thing in THINGS:
        name = re.compile(rf"\b{thing}(s|es)?\b", re.IGNORECASE)
        named = np.array([bool(name.search(text)) for text in texts])
        queries.append(f"a {thing}")
        answers.append(np.flatnonzero(named))
        unclear.append(np.flatnonzero(np.isin(picture, picture[named]) & ~named))
    return Dataset(CAPTIONS, texts, queries, answers, unclear)


def nouns(folder: Path, rng: np.random.Generator) -> Dataset:
    """Return glosses of nouns; the synsets below a noun's first sense answer it."""
    glosses: dict[str, str] = {}
    below: dict[str, list[str]] = {}
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if line[0].isdigit():
            pointers, _, gloss = line.partition(" | ")
            glosses[line[:8]] = gloss.partition('; "')[0].strip()
            below[line[:8]] = re.findall(r" ~i? (\d{8}) n ", pointers)
    rows = {each: row for row, each in enumerate(rng.permutation(sorted(glosses))[:GLOSSES])}
    texts = [glosses[each] for each in rows]
    queries, answers, unclear = [], [], []
    lines = (folder / "index.noun").read_text(encoding="utf-8").splitlines()
    for line in rng.permutation([each for each in lines if each[0].isalpha()]):
        word, _, senses, *fields = line.split()
        named = _below(fields[-int(senses)], below)
        usual = word.isalpha() and fields[-int(senses) - 1] != "0"  # senses found in texts
        if usual and NAMED[0] <= len(named) <= NAMED[1]:
            queries.append(word)
            answers.append(np.array(sorted(rows[each] for each in named & rows.keys()), np.int64))
            said = re.compile(rf"\b{word}", re.IGNORECASE)
            unclear.append(np.flatnonzero([bool(said.search(text)) for text in texts]))
        if len(queries) == ASKED:
            break
    return Dataset(NOUNS, texts, queries, answers, unclear)


def _below(first: str, below: dict[str, list[str]]) -> set[str]:
    """Return a synset and all below it."""
    found, left = set(), [first]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += below[each]
    return found


def collection(documents: Path, queries: Path, judgements: Path) -> Dataset:
    """Return a test collection; documents judged below 0 do not answer."""
    texts, asked = _records(documents), _records(queries)
    rows = {number: row for row, number in enumerate(texts)}
    right: list[list[int]] = [[] for _ in asked]
    for line in judgements.read_text(encoding="latin-1").splitlines():
        query, document, *grade = line.split()
        if not grade or float(grade[0]) >= 0:  # queries are counted, whatever their own number
            right[int(query) - 1].append(rows[int(document)])
    judged = [n for n, some in enumerate(right) if some]
    answers = [np.unique(right[n]) for n in judged]
    unclear = [np.zeros(0, np.int64)] * len(judged)
    words = list(asked.values())
    name = documents.name.partition(".")[0].lower()
    return Dataset(name, list(texts.values()), [words[n] for n in judged], answers, unclear)


def _records(path: Path) -> dict[int, str]:
    """Return the title and text of each record of a file in SMART's format."""
    found = {}
    for record in re.split(r"^\.I ", path.read_text(encoding="latin-1"), flags=re.MULTILINE)[1:]:
        number, *fields = re.split(r"^\.([A-Z])\s*$", record, flags=re.MULTILINE)
        parts = dict(zip(fields[::2], fields[1::2], strict=True))
        text = " ".join(f"{parts.get('T', '')} {parts.get('W', '')}".split())
        found[int(number)] = text or "-"
    return found


def embed(model: str, sets: Sequence[Dataset]) -> list[Embedded]:
    """Return datasets with the vectors of a model."""
    choice = Choice(model=model)
    fingerprint = task_fingerprint(None, choice)
    embedder = load_embedder(fingerprint, choice)
    bank = baseline_vectors(embedder, fingerprint)
    found = []
    for data in sets:
        texts = _vectors(embedder, data.texts)
        queries = _vectors(embedder, data.queries, QUERY_INSTRUCTION)
        generic = texts @ bank.T
        backgrounds = np.stack([generic.mean(1), generic.std(1)], axis=1)
        files = _vectors(embedder, data.queries)
        found.append(Embedded(data, texts, queries, files, backgrounds))
    return found


def _vectors(embedder: Embedder, texts: Sequence[str], instruction: str | None = None) -> Vectors:
    inputs = [EmbedInput(text=text, instruction=instruction) for text in texts]
    batches = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    return np.concatenate([embedder.embed(batch) for batch in batches])


def cases(
    sets: Sequence[Embedded], sizes: Sequence[int], count: int, part: int, seed: int = SEED
) -> Iterator[Case]:
    """Yield up to `count` cases of each group and size of library, for each dataset.

    Queries are those of even or of odd number, by `part`: FITTED or MEASURED.
    """
    rng = np.random.default_rng(seed)
    for each in sets:
        asked = np.arange(part, len(each.data.queries), 2)
        strange = [other.queries[part::2] for other in sets if _is_foreign(other.data, each.data)]
        for size in sorted({min(size, len(each.texts)) for size in sizes}):
            some = max(3, count // 2) if size >= LARGE else count
            for n in rng.permutation(asked)[:some]:
                few = int(rng.integers(1, 5))
                yield _case(each, "few", n, size, few, rng)
                yield _case(each, "none", n, size, 0, rng)
                yield _case(each, "few, by file", n, size, few, rng, words=0.0)
                yield _case(each, "none, by file", n, size, 0, rng, words=0.0)
            for share in SHARES:
                matching = round(share * size)
                enough = [n for n in asked if len(each.data.answers[n]) >= matching >= 1]
                for n in rng.permutation(enough)[:some]:
                    yield _case(each, f"{share:.0%}", int(n), size, matching, rng)
            for n in range(some if strange else 0):
                rows = rng.choice(len(each.texts), size, replace=False)
                query = rng.choice(strange[n % len(strange)])
                yield _scored(each, "foreign", size, query, rows, np.zeros(size, np.bool_))


def _is_foreign(queries: Dataset, texts: Dataset) -> bool:
    """Return whether no text of one dataset answers a query of another; a noun fits a caption."""
    return (queries.name == CAPTIONS) != (texts.name == CAPTIONS) and queries.name != NOUNS


def _case(
    each: Embedded,
    group: str,
    query: int,
    size: int,
    matching: int,
    rng: np.random.Generator,
    *,
    words: float = 1.0,
) -> Case:
    """Return the case of one query, and of `matching` of its answers among other rows."""
    answers = each.data.answers[query]
    wrong = np.ones(len(each.texts), np.bool_)
    wrong[answers] = wrong[each.data.unclear[query]] = False
    others = np.flatnonzero(wrong)
    right = rng.choice(answers, min(matching, len(answers)), replace=False)
    some = rng.choice(others, min(size - len(right), len(others)), replace=False)
    matches = np.arange(len(right) + len(some)) < len(right)
    vector = each.queries[query] if words else each.files[query]
    return _scored(each, group, size, vector, np.append(right, some), matches, words=words)


def _scored(
    each: Embedded,
    group: str,
    size: int,
    query: Vectors,
    rows: np.ndarray,
    matches: np.ndarray,
    *,
    words: float = 1.0,
) -> Case:
    """Return the case of a query to these rows, with the baseline of a search."""
    vectors = each.texts[rows]
    if words:
        baseline = baseline_of(each.backgrounds[rows])
    else:
        places = np.arange(len(rows))
        files, some = (places[:: -(-len(rows) // most)] for most in (QUERIES, FETCHED))
        baseline = baseline_between(vectors[some] @ vectors[files].T, some[:, None] == files)
    scores, kinds = vectors @ query, np.full(len(rows), TEXT, np.uint8)
    return Case(group, each.data.name, size, scores, kinds, {TEXT: baseline}, matches, words)
