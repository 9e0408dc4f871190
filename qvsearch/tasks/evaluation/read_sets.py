"""Reads a set for `evaluate` in whichever form it has on disk."""

from __future__ import annotations

from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation import json_sets, labelled_sets, retrieval_sets
from qvsearch.tasks.evaluation.set_files import FORMS, read_rows
from qvsearch.tasks.evaluation.sets import Entry, EvaluationSet, RetrievalSet
from qvsearch.types import Skipped


def read_set(
    path: Path | str,
    media: Path | str | None = None,
    split: str | None = None,
    reverse: bool = False,
) -> EvaluationSet:
    """Return the set in a folder or a file, in the form that it has.

    `media` is the folder of the files that it names (default: the set's own). `split` chooses
    among several (default: test). With `reverse`, documents look for their queries. Raises
    QvsearchError, which names the file and the line, if there is no such set.
    """
    path, media = Path(path), None if media is None else Path(media)
    if not path.exists():
        raise QvsearchError(f"there is no file or folder {path}; give {FORMS}")
    read = _read_folder if path.is_dir() else _read_file
    found = read(path, media, split)
    if not reverse:
        return found
    if not isinstance(found, RetrievalSet) or found.windows is not None:
        raise QvsearchError(f"--reverse is for queries and documents; {path} has other contents")
    return reversed_set(found)


def reversed_set(found: RetrievalSet) -> RetrievalSet:
    """Return the set in which each document looks for its queries, e.g. an image for captions."""
    relevant: dict[str, dict[str, int]] = {}
    for query, grades in found.relevant.items():
        for document, grade in grades.items():
            relevant.setdefault(document, {})[query] = grade
    entries = list(found.documents)
    queries = tuple(each for each in entries if isinstance(each, Entry) and each.name in relevant)
    bad = tuple(each for each in entries if isinstance(each, Skipped))
    unjudged = len(entries) - len(queries) - len(bad)
    left_out = (*found.left_out, *bad)
    return RetrievalSet(
        found.name, queries, found.queries, relevant, left_out=left_out, unjudged=unjudged
    )


def _read_folder(path: Path, media: Path | None, split: str | None) -> EvaluationSet:
    if (path / "corpus.jsonl").exists():
        return retrieval_sets.read_beir(path, media or path, split)
    if (path / "collection.tsv").exists():
        return retrieval_sets.read_marco(path, split)
    if (path / "classes.txt").exists():
        return labelled_sets.read_class_files(path)
    if questions := sorted(path.glob("*questions.json")):
        return json_sets.read_vqa(path, questions, media or path, split)
    return labelled_sets.read_class_folders(path)


def _read_file(path: Path, media: Path | None, split: str | None) -> EvaluationSet:
    folder = media or path.parent
    if path.suffix.lower() == ".json":
        return json_sets.read_json(path, folder, split)
    if labelled_sets.is_sts_benchmark(path):
        return labelled_sets.read_sts_benchmark(path)
    columns = read_rows(path).columns
    if {"sentence1", "sentence2"} <= columns:
        return labelled_sets.read_pairs(path)
    if "relevant_windows" in columns:
        return retrieval_sets.read_moments(path, folder)
    if "label" in columns:
        return labelled_sets.read_labels(path, folder)
    return retrieval_sets.read_query_files(path, folder)
