"""Let a reranker judge the first hits; knows nothing of how it judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.media.workers import Decoders
from qvsearch.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput, Hit, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Reranker

Place = tuple[int, int]  # a hit's place in its block, and the block


def rerank(
    blocks: Sequence[Sequence[Hit]],
    query: Sequence[EmbedInput],
    reranker: Reranker,
    count: int,
    max_pixels: int,
    missed: Callable[[Skipped], None],
) -> list[list[Hit]]:
    """Reorder the first `count` hits over all blocks by P(relevant), each within its block.

    Hits are counted by rank, the first of every block before any second. Those that are not
    judged follow as they were; `missed` hears of the ones whose file is gone or has changed.
    """
    places = sorted(
        (place, number) for number, block in enumerate(blocks) for place in range(len(block))
    )
    hits = {place: blocks[place[1]][place[0]] for place in places[:count]}
    documents = dict(_documents(hits, max_pixels, missed))
    scores = reranker.score(joined(query), list(documents.values())) if documents else []
    judged = dict(zip(documents, scores, strict=True))
    return [
        _reordered(
            [
                replace(hit, rerank_score=judged.get((place, number)))
                for place, hit in enumerate(block)
            ]
        )
        for number, block in enumerate(blocks)
    ]


def joined(query: Sequence[EmbedInput]) -> EmbedInput:
    """Return one input that holds all of a query's frames or passages.

    The default instruction of embedding gives way to the reranker's own; a user's one stays.
    """
    text = "\n".join(each.text for each in query if each.text)
    images = tuple(image for each in query for image in each.images)
    instruction = query[0].instruction
    return EmbedInput(
        text or None,
        images,
        instruction=None if instruction == QUERY_INSTRUCTION else instruction,
    )


def _documents(
    hits: dict[Place, Hit], max_pixels: int, missed: Callable[[Skipped], None]
) -> Iterator[tuple[Place, EmbedInput]]:
    """Decode each hit's file again and yield the input of just its segment."""
    jobs = [(hit.segment.item, hit.segment.content_hash) for hit in hits.values()]
    with Decoders() as decoders:
        outcomes = decoders.decode(jobs, max_pixels)
        for (place, hit), outcome in zip(hits.items(), outcomes, strict=True):
            if isinstance(outcome, Skipped):
                missed(outcome)
                continue
            found = [source for each, source in outcome.segments if _same(each, hit.segment)]
            if found:
                yield place, found[0]
            else:
                missed(Skipped(hit.segment.item.location, "changed since it was indexed"))


def _same(one: Segment, other: Segment) -> bool:
    return (one.start, one.end, one.lines) == (other.start, other.end, other.lines)


def _reordered(block: list[Hit]) -> list[Hit]:
    """Return the judged hits, best first, then the others in their order."""
    judged = [hit for hit in block if hit.rerank_score is not None]
    judged.sort(key=lambda hit: -(hit.rerank_score or 0.0))
    return judged + [hit for hit in block if hit.rerank_score is None]
