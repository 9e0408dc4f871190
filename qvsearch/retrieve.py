"""Answer a query from a library; knows nothing of how a model embeds or how vectors are stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.filters import parse_date as parse_date
from qvsearch.fingerprint import Choice, load_embedder
from qvsearch.media.workers import Decoders
from qvsearch.prompt import QUERY_INSTRUCTION
from qvsearch.rerank import rerank
from qvsearch.scan import is_below
from qvsearch.types import EmbedInput, Hit, Item, Kind, Moment, Segment, Skipped, kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library import Library
    from qvsearch.types import Embedder, Pixels, Reranker, Vectors

QUERY_SEGMENTS = 8  # frames or passages that stand for a video or a text file as the query
MOMENTS = 5  # other segments of an item that a hit carries
FIRST_ROWS = 64  # retrieved at once: enough that folding rarely asks again


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: words, a file, or words and an image as one model input.

    `file` is an image, video or text; paths are absolute bytes.
    """

    words: str | None = None
    file: bytes | None = None
    image: bytes | None = None
    instruction: str = QUERY_INSTRUCTION


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits of each kind, of which items; `rerank` is how many hits a reranker judges.

    `under` is an absolute path; `after` and `before` bound the file's mtime in nanoseconds,
    `before` itself excluded.
    """

    top: int = 10
    kinds: frozenset[Kind] | None = None
    under: bytes | None = None
    after: int | None = None
    before: int | None = None
    rerank: int = 0


def parse_query(
    text: str | None, image: bytes | None = None, instruction: str | None = None
) -> Query:
    """Read the query that a person typed; raises QvsearchError where it says nothing.

    Text that is the path of an existing file of a known suffix means the file, unless there is an
    image beside it. One word that ends in such a suffix is a path as well, perhaps a misspelt one.
    """
    words = (text or "").strip() or None
    instruction = instruction or QUERY_INSTRUCTION
    if image is not None:
        return Query(words, image=_absolute(image), instruction=instruction)
    if text and words:
        location = _absolute(os.fsencode(text))
        if kind_of(location) is not None:
            if _is_there(location):
                return Query(file=location, instruction=instruction)
            if len(words.split()) == 1:
                raise QvsearchError(f"there is no file {words}; to look for words, use several")
        return Query(words, instruction=instruction)
    raise QvsearchError("the query is empty; give words, the path of a file, or --image FILE")


def _is_there(location: bytes) -> bool:
    try:
        return os.path.lexists(location)
    except OSError:  # many words are no name that a file may have
        return False


def search(
    library: Library,
    query: Query | str,
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """Return the best hits of each kind, kinds in their own order, one hit an item.

    Scores of different kinds cannot be compared, so `rank` counts within the kind. The library's
    own model is loaded where no embedder is given. Raises QvsearchError for an empty library, a
    query that says nothing or a query file that cannot be read.
    """
    return answer(
        library,
        parse_query(query) if isinstance(query, str) else query,
        options or SearchOptions(),
        lambda: embedder or load_embedder(library.fingerprint, Choice()),
        None if reranker is None else lambda: reranker,
    )


def answer(
    library: Library,
    query: Query,
    options: SearchOptions,
    load: Callable[[], Embedder],
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
) -> list[Hit]:
    """Do what `search` does, loading models only when they are needed.

    `missed` hears of the hits that could not be shown to the reranker.
    """
    segments = library.segments
    if not segments:
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with: qvsearch index FOLDER"
        )
    max_pixels = library.fingerprint.detail.max_pixels
    inputs = query_inputs(query, max_pixels)
    masks = _masks(segments, options)
    if not masks:
        _check_under(segments, options.under)
        return []
    vectors = load().embed(inputs)
    wanted = max(options.top, options.rerank)
    blocks = [_best(library, vectors, mask, wanted) for mask in masks]
    if load_reranker is not None:
        blocks = rerank(blocks, inputs, load_reranker(), options.rerank, max_pixels, missed)
    return [
        replace(hit, rank=rank)
        for block in blocks
        for rank, hit in enumerate(block[: options.top], start=1)
    ]


def _check_under(segments: Mapping[int, Segment], under: bytes | None) -> None:
    """Raise QvsearchError for a path that neither library nor disk knows: a misspelt one."""
    if under is None or os.path.lexists(under):
        return
    if not any(is_below(each.item.location, under) for each in segments.values()):
        raise QvsearchError(
            f"there is no {os.fsdecode(under)}, nor anything below it in the library; check --under"
        )


def query_inputs(query: Query, max_pixels: int) -> list[EmbedInput]:
    """Return the model inputs of a query: one, or several for a video or a text file."""
    if query.file is not None:
        inputs = [
            replace(each, instruction=query.instruction)
            for each in _decoded(query.file, max_pixels)
        ]
        picks = np.linspace(0, len(inputs) - 1, min(QUERY_SEGMENTS, len(inputs)))
        return [inputs[round(pick)] for pick in picks]
    images: tuple[Pixels, ...] = ()
    if query.image is not None:
        if kind_of(query.image) not in (Kind.IMAGE, None):
            raise QvsearchError(
                f"--image takes a picture; give {os.fsdecode(query.image)} as the query itself"
            )
        images = _decoded(query.image, max_pixels)[0].images
    return [EmbedInput(text=query.words, images=images, instruction=query.instruction)]


def _decoded(location: bytes, max_pixels: int) -> list[EmbedInput]:
    """Decode a query's file in a worker that can be killed, as any file from anywhere is."""
    name = os.fsdecode(location)
    kind = kind_of(location)
    if kind is None:
        raise QvsearchError(f"{name}: qvsearch does not take files of this suffix")
    try:
        status = Path(name).stat()
    except OSError as error:
        raise QvsearchError(f"{name}: {(error.strerror or str(error)).lower()}") from error
    item = Item(location, b"", kind, status.st_size, status.st_mtime_ns)
    with Decoders() as decoders:
        (outcome,) = decoders.decode([(item, "")], max_pixels)
    if isinstance(outcome, Skipped):
        raise QvsearchError(f"{name} cannot be the query: {outcome.reason}")
    return [source for _, source in outcome.segments]


def _masks(segments: Mapping[int, Segment], options: SearchOptions) -> list[NDArray[np.bool_]]:
    """Return which rows may answer, a mask for each kind that has any."""
    size = max(segments) + 1
    masks: dict[Kind, NDArray[np.bool_]] = {}
    # a folder may have been indexed by its own name and be asked for by a link's
    under = None if options.under is None else {options.under, os.path.realpath(options.under)}
    for row, segment in segments.items():
        item = segment.item
        if _wanted(item, options) and (
            under is None or any(is_below(item.location, folder) for folder in under)
        ):
            masks.setdefault(item.kind, np.zeros(size, dtype=np.bool_))[row] = True
    return [masks[kind] for kind in Kind if kind in masks]


def _wanted(item: Item, options: SearchOptions) -> bool:
    if options.kinds is not None and item.kind not in options.kinds:
        return False
    if options.after is not None and item.mtime_ns < options.after:
        return False
    return options.before is None or item.mtime_ns < options.before


def _best(library: Library, vectors: Vectors, mask: NDArray[np.bool_], wanted: int) -> list[Hit]:
    """Return the best `wanted` items of the rows in the mask, asking for more rows until sure."""
    available = int(mask.sum())
    k = min(available, max(FIRST_ROWS, 4 * wanted))
    while True:
        answers = [library.search(vector, k, mask) for vector in vectors]
        hits = _fold(answers, library.segments)
        # a row that no answer holds scores at most this, so an item from here up is in its place
        unseen = max(answer[-1][1] for answer in answers) if k < available else -np.inf
        if k == available or sum(hit.score >= unseen for hit in hits) >= wanted:
            return hits[:wanted]
        k = min(available, 4 * k)


def _fold(
    answers: Sequence[Sequence[tuple[int, float]]], segments: Mapping[int, Segment]
) -> list[Hit]:
    """Fold rows into one hit an item: a row's best score over the query's vectors counts."""
    best: dict[int, float] = {}
    for answer in answers:
        for row, score in answer:
            best[row] = max(score, best.get(row, score))
    items: dict[bytes, list[tuple[float, Segment]]] = {}
    for row, score in sorted(best.items(), key=lambda pair: (-pair[1], pair[0])):
        segment = segments[row]
        items.setdefault(segment.item.location, []).append((score, segment))
    return [
        Hit(
            rank,
            *(best[0], best[0], best[1]),
            moments=tuple(Moment(score, score, each) for score, each in others[:MOMENTS]),
        )
        for rank, (best, *others) in enumerate(items.values(), start=1)
    ]


def _absolute(path: bytes) -> bytes:
    return os.path.abspath(path)
