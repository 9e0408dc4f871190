"""What a driver and its nodes send each other: tables of files, and tables of their outcomes.

Rows travel as the lines of a sidecar, so that the driver checks them as it checks a library's.
Their words travel beside these, as a list of texts in JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson

from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.reading import Pictures
from qvsearch.library.sidecar import decode_rows, encode_rows
from qvsearch.library.words_file import stored_text
from qvsearch.types import Item, Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Segment, Vectors


Outcome: TypeAlias = Embedded | Skipped | Pictures  # of a file, or of the pictures in some


def item_block(items: Sequence[Item]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return a table of files, a row each."""
    import pyarrow

    return pyarrow.table(
        {
            "root": [each.root for each in items],
            "path": [each.path for each in items],
            "kind": [each.kind.value for each in items],
            "size": [each.size for each in items],
            "mtime_ns": [each.mtime_ns for each in items],
        }
    )


def items_of(block: Any) -> list[Item]:  # noqa: ANN401
    """Return the files of `item_block`, without ctime and inode, which other computers see else."""
    return [
        Item(row["root"], row["path"], Kind(row["kind"]), row["size"], row["mtime_ns"])
        for row in block.to_pylist()
    ]


def outcome_block(outcomes: Iterable[Outcome | QvsearchError]) -> Any:  # noqa: ANN401
    """Return a table of outcomes, a row each; only those of files have a location."""
    import pyarrow

    rows = [_row(each) for each in outcomes]
    names = ("location", "reason", "root", "lines", "words", "vectors", "pictures")
    schema = pyarrow.schema([(name, pyarrow.large_binary()) for name in names])
    return pyarrow.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


def _row(outcome: Outcome | QvsearchError) -> tuple[object, ...]:
    if isinstance(outcome, QvsearchError):
        return None, os.fsencode(str(outcome)), *(None,) * 5
    if isinstance(outcome, Pictures):
        return *(None,) * 6, orjson.dumps(outcome)
    if isinstance(outcome, Skipped):
        return outcome.path, os.fsencode(outcome.reason), *(None,) * 5
    item = outcome.item
    rows = ((segment, None, b"") for segment in outcome.segments)
    try:
        lines = b"".join(encode_rows(rows, {item.root: 0}))
    except QvsearchError as error:  # a line that is too long
        return item.location, os.fsencode(str(error)), *(None,) * 5
    words = orjson.dumps([each.words and stored_text(each.words) for each in outcome.segments])
    vectors = outcome.vectors.astype("<f4", copy=False).tobytes()
    return item.location, None, item.root, lines, words, vectors, None


def outcomes_of(block: Any, dim: int) -> Iterator[Outcome]:  # noqa: ANN401
    """Yield the outcomes of `outcome_block`, whose vectors have `dim` numbers.

    Raises the QvsearchError that is among them, at its place, or one for a table of another form.
    """
    for row in block.to_pylist():
        if row["location"] is None and row["reason"] is not None:
            raise QvsearchError(os.fsdecode(row["reason"]))
        if row["location"] is None:
            yield Pictures(**orjson.loads(row["pictures"]))
            continue
        if row["reason"] is not None:
            yield Skipped(row["location"], os.fsdecode(row["reason"]))
            continue
        try:
            segments, vectors = _rows_of(row, dim)
        except ValueError as error:
            raise QvsearchError(f"a node sent rows of another form: {error}") from error
        yield Embedded(segments[0].item, tuple(segments), vectors)


def _rows_of(row: dict[str, Any], dim: int) -> tuple[list[Segment], Vectors]:
    vectors = np.frombuffer(row["vectors"], "<f4").reshape(-1, dim)
    segments, _ = decode_rows(row["lines"], [row["root"]], [True] * len(vectors))
    words = orjson.loads(row["words"] or b"null")
    if type(words) is not list or not {*map(type, words)} <= {str, type(None)}:
        raise ValueError("the words are not texts")
    pairs = zip(segments, words, strict=True)
    return [replace(segment, words=text) for segment, text in pairs], vectors
