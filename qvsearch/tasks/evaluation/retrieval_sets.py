"""Retrieval sets of lines: BEIR, MS MARCO, CSV of queries and files, moments of videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation.set_files import (
    MediaFolder,
    Row,
    Rows,
    bad_line,
    read_rows,
    table_lines,
    text_of,
    words,
)
from qvsearch.tasks.evaluation.sets import Entry, RetrievalSet
from qvsearch.tasks.inputs import TaskInput, parse_dictionary
from qvsearch.types import Skipped

SPLIT = "test"  # the default
QUERY_COLUMNS = ("query", "text", "caption", "sentence", "question")
FILE_COLUMNS = ("file", "path", "image", "video", "filename", "file_name", "video_id", "image_id")
MEDIA_KEYS = ("image", "video")


@dataclass(frozen=True, slots=True)
class _Lines:
    """The entries of a file of one a line, read anew at each iteration; repeats are Skipped."""

    rows: Callable[[], Iterator[tuple[int, Row] | Skipped]]
    path: Path
    entry: Callable[[str, Row], Entry]

    def __iter__(self) -> Iterator[Entry | Skipped]:
        seen: set[str] = set()
        for each in self.rows():
            if isinstance(each, Skipped):
                yield each
                continue
            number, row = each
            try:
                entry = self.entry(f"line {number} of {self.path.name}", row)
            except QvsearchError as error:
                name = f"line {number} of {self.path.name}"
                yield bad_line(self.path, number, str(error).removeprefix(name).lstrip(": "))
                continue
            if entry.name in seen:
                yield bad_line(self.path, number, f"the id {entry.name!r} is there already")
                continue
            seen.add(entry.name)
            yield entry


def read_beir(folder: Path, media: Path, split: str | None) -> RetrievalSet:
    """Return the set of a BEIR folder: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.

    Lines have `_id`, `text`, `title`, and also `image` or `video`, a path or a list of paths
    relative to `media` (Thakur et al. 2021, beir-cellar/beir, for the form of texts).
    """
    qrels = _split_file(folder / "qrels", "*.tsv", split)
    place = os.fsencode(media)

    def entry(where: str, row: Row) -> Entry:
        name = text_of(row, "_id", "id")
        if name is None:
            raise QvsearchError(f"{where}: it has no _id")
        return Entry(name, _source(where, row, place), *_columns(row))

    corpus = folder / "corpus.jsonl"
    documents = _Lines(lambda: iter(Rows(corpus, frozenset())), corpus, entry)
    path = folder / "queries.jsonl"
    queries = _Lines(lambda: iter(Rows(path, frozenset())), path, entry)
    return judged_set(folder.name, queries, documents, *_read_qrels(qrels), qrels.name)


def _source(where: str, row: Row, folder: bytes) -> TaskInput:
    """Return the input of a line: its files, and its title and text as one text."""
    text = " ".join(filter(None, [text_of(row, "title"), text_of(row, "text")]))
    source: dict[str, Any] = {"text": text or None, "instruction": row.get("instruction")}
    source |= {key: row[key] for key in MEDIA_KEYS if row.get(key)}
    return parse_dictionary(where, source, folder)


def _columns(row: Row) -> tuple[str | None, str | None]:
    return text_of(row, "kind"), text_of(row, "language", "lang")


def read_marco(folder: Path, split: str | None) -> RetrievalSet:
    """Return the set of an MS MARCO passage folder.

    It has collection.tsv (id, passage), queries.SPLIT.tsv (id, query) and qrels.SPLIT.tsv (id, 0,
    id, grade), without lines of names.
    """
    qrels = _split_file(folder, "qrels*.tsv", split)
    queries_path = qrels.with_name(qrels.name.replace("qrels", "queries", 1))
    if not queries_path.exists():
        raise QvsearchError(f"there is no {queries_path}, the queries of {qrels.name}")

    def entries(path: Path) -> _Lines:
        def rows() -> Iterator[tuple[int, Row] | Skipped]:
            for number, cells in table_lines(path):
                if len(cells) == 2:
                    yield number, {"_id": cells[0], "text": cells[1]}
                else:
                    yield bad_line(path, number, f"{len(cells)} columns instead of 2")

        return _Lines(rows, path, lambda where, row: Entry(row["_id"], words(where, row["text"])))

    documents = entries(folder / "collection.tsv")
    return judged_set(
        folder.name, entries(queries_path), documents, *_read_qrels(qrels), qrels.name
    )


def _split_file(folder: Path, pattern: str, split: str | None) -> Path:
    """Return the file of a split: the named one, `test`, or the only one."""
    files = {
        path.name.removeprefix("qrels.").removesuffix(".tsv"): path
        for path in sorted(folder.glob(pattern))
    }
    if split is None and len(files) == 1:
        return next(iter(files.values()))
    found = files.get(split or SPLIT)
    if found is None:
        there = f"; there are {', '.join(files)}" if files else ""
        raise QvsearchError(
            f"{folder} has no relevant documents of --split {split or SPLIT}{there}"
        )
    return found


Relevant = dict[str, dict[str, int]]


def _read_qrels(path: Path) -> tuple[Relevant, dict[tuple[str, str], int], list[Skipped]]:
    """Return grades by query and document, the line of each pair, and lines without use.

    A line is `query document grade`, or in TREC's form `query 0 document grade`. The names of a
    first line are left out; so are grades of 0, which are not relevant.
    """
    relevant: Relevant = {}
    lines: dict[tuple[str, str], int] = {}
    left_out: list[Skipped] = []
    for number, cells in table_lines(path):
        if len(cells) == 1:
            cells = cells[0].split()
        try:
            query, *_, document, text = (each.strip() for each in cells)
            grade = float(text)
            if not grade.is_integer():
                raise ValueError
        except ValueError:
            if lines or left_out or number > 1:  # not the names of the columns
                reason = "it is not a query's id, a document's id and a whole grade"
                left_out.append(bad_line(path, number, reason))
            continue
        if (query, document) in lines:
            left_out.append(bad_line(path, number, f"{query!r} and {document!r} are there already"))
        elif grade > 0:
            relevant.setdefault(query, {})[document] = int(grade)
        lines.setdefault((query, document), number)
    return relevant, lines, left_out


def judged_set(
    name: str,
    queries: _Lines,
    documents: _Lines,
    relevant: Relevant,
    lines: Mapping[tuple[str, str], int],
    left_out: list[Skipped],
    qrels: str,
) -> RetrievalSet:
    """Return the set of the queries with relevant documents; ids that name nothing are reported."""
    kept, read, unjudged = [], set(), 0
    for query in queries:
        if isinstance(query, Skipped):
            left_out.append(query)
            continue
        read.add(query.name)
        if query.name in relevant:
            kept.append(query)
        else:
            unjudged += 1
    wanted = {document for grades in relevant.values() for document in grades}
    wanted -= {each.name for each in documents if isinstance(each, Entry)}
    for (query_name, document), number in lines.items():
        where = os.fsencode(f"line {number} of {qrels}")
        if query_name not in read:
            left_out.append(Skipped(where, f"there is no query {query_name!r}"))
        elif document in wanted:
            reason = f"there is no document {document!r}; it counts as not found"
            left_out.append(Skipped(where, reason))
    judged = {each.name: relevant[each.name] for each in kept}
    return RetrievalSet(
        name, tuple(kept), documents, judged, left_out=tuple(left_out), unjudged=unjudged
    )


def read_query_files(path: Path, media: Path) -> RetrievalSet:
    """Return the set of lines with a query and the file that it should find.

    Documents are all files named. Several lines with one query have several relevant files; a
    line without a query only adds a file. Columns `kind`, `language` and `instruction` are read.
    """
    rows = read_rows(path)
    query_column = next((each for each in QUERY_COLUMNS if each in rows.columns), None)
    file_column = next((each for each in FILE_COLUMNS if each in rows.columns), None)
    if query_column is None or file_column is None:
        raise QvsearchError(
            f"{path} has the columns {', '.join(sorted(rows.columns))}; a set needs query and file,"
            " or sentence1, sentence2 and score, or text or file, and label"
        )
    files = MediaFolder(media)
    queries: dict[tuple[str, str | None], Entry] = {}
    documents: dict[bytes, Entry] = {}
    relevant: Relevant = {}
    left_out: list[Skipped] = []
    for each in rows:
        if isinstance(each, Skipped):
            left_out.append(each)
            continue
        number, row = each
        where = f"line {number} of {path.name}"
        try:
            file = text_of(row, file_column)
            if file is None:
                raise QvsearchError(f"it has no {file_column}")
            found = files.input(file)
            document = documents.setdefault(found.name, Entry(os.fsdecode(found.name), found))
            if (text := text_of(row, query_column)) is not None:
                kind, language = _columns(row)
                entry = Entry(
                    str(number), words(where, text, text_of(row, "instruction")), kind, language
                )
                entry = queries.setdefault((text, language), entry)
                relevant.setdefault(entry.name, {})[document.name] = 1
        except QvsearchError as error:
            reason = str(error).removeprefix(where).lstrip(": ")
            left_out.append(bad_line(path, number, reason))
    return RetrievalSet(
        path.stem,
        tuple(queries.values()),
        tuple(documents.values()),
        relevant,
        left_out=tuple(left_out),
    )


def read_moments(path: Path, media: Path) -> RetrievalSet:
    """Return the set of JSON lines in the form of QVHighlights (Lei et al. 2021).

    A line has `query`, `vid`, the name of a video with or without its suffix, and
    `relevant_windows`, a list of [start, end] in seconds.
    """
    files = MediaFolder(media)
    queries: list[Entry] = []
    documents: dict[bytes, Entry] = {}
    windows: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {}
    left_out, unjudged = [], 0
    for each in read_rows(path):
        if isinstance(each, Skipped):
            left_out.append(each)
            continue
        number, row = each
        where = f"line {number} of {path.name}"
        try:
            text, video = text_of(row, "query"), text_of(row, "vid", "video")
            if text is None or video is None:
                raise QvsearchError("it has no query, or no vid")
            parts = _windows(row.get("relevant_windows") or [])
            found = files.input(video)
            query = Entry(str(number), words(where, text), *_columns(row))
            document = documents.setdefault(found.name, Entry(os.fsdecode(found.name), found))
        except QvsearchError as error:
            reason = str(error).removeprefix(where).lstrip(": ")
            left_out.append(bad_line(path, number, reason))
            continue
        if parts:
            queries.append(query)
            windows[query.name] = {document.name: parts}
        else:
            unjudged += 1
    return RetrievalSet(
        path.stem, tuple(queries), tuple(documents.values()), {}, windows, tuple(left_out), unjudged
    )


def _windows(parts: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(parts, list):
        raise QvsearchError("its relevant_windows are not a list")
    return tuple(map(_window, parts))


def _window(part: object) -> tuple[float, float]:
    match part:
        case [int() | float() as start, int() | float() as end] if 0 <= start < end:
            return float(start), float(end)
    raise QvsearchError(f"the window {part!r} is not [start, end] in seconds")
