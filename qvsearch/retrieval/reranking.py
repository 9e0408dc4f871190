"""Reorder the first hits by the scores of a reranker."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from qvsearch.choices import RerankScope
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.asked_words import plain
from qvsearch.retrieval.calibration import evidence_of, relevance_of
from qvsearch.types import EmbedInput, Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.retrieval.options import Rerank
    from qvsearch.retrieval.query import Term
    from qvsearch.types import DecodeOptions, Hit, Item, Reranker, Segment

# P(yes) from which a pair is a match: in the recorded scores of Qwen3-VL-Reranker-2B the lowest of
# the matches has 0.37 (a passage), the highest of the others 0.28 (a photo)
YES = 0.33
SUREST = 0.999_999  # the limit of both probabilities, so that neither overrules the other

Place = tuple[int, int]  # a hit's place in its block, and the number of the block


def rerank(
    blocks: Sequence[Sequence[Hit]],
    terms: Sequence[Term],
    reranker: Reranker,
    how: Rerank,
    decode_options: Callable[[Hit], DecodeOptions],
    missed: Callable[[Skipped], None],
) -> list[list[Hit]]:
    """Score the first hits over all blocks by P(yes), and sort each block by the new relevance.

    Hits are counted by rank, the first of every block before any second. The new relevance is the
    mean of both log-odds; hits that are not scored keep theirs. `decode_options` returns how a
    hit's file was decoded for its library. `missed` is called with hits whose file is gone or has
    changed.
    """
    places = sorted(
        (place, number) for number, block in enumerate(blocks) for place in range(len(block))
    )
    hits = {place: blocks[place[1]][place[0]] for place in places[: how.top]}
    wanted = {place: hit for place, hit in hits.items() if in_scope(hit.segment, how.scope)}
    inputs = [each for term in terms if term.weight > 0 for each in term.inputs]
    query = joined(inputs or [EmbedInput(plain(terms[0].text), instruction=QUERY_INSTRUCTION)])
    with closing(_documents(wanted, decode_options, missed)) as documents:
        scores = _scores(reranker, query, documents, how.seconds)
    return [
        sorted(
            (_reranked(hit, scores.get((place, number))) for place, hit in enumerate(block)),
            key=lambda hit: -hit.relevance,
        )
        for number, block in enumerate(blocks)
    ]


def both_judges(relevance: float, score: float) -> float:
    """Return the relevance, 0 to 1, of a hit's own relevance and the reranker's P(yes) together.

    It is the mean of their log-odds (the logarithmic opinion pool, Genest and Zidek 1986).
    """
    embedding, reranker = (
        evidence_of(min(max(each, 1 - SUREST), SUREST)) for each in (relevance, score)
    )
    return relevance_of((embedding + reranker - evidence_of(YES)) / 2)


def in_scope(segment: Segment, scope: RerankScope) -> bool:
    """Return whether a hit is scored: with `auto` only texts, documents and pages.

    The 2B reranker makes the order of photos and videos slightly worse (Qwen3-VL-Embedding report,
    MMEB-V2: 74.8 to 74.0 and 53.6 to 53.2) and that of visual documents better (79.2 to 83.2).
    """
    if scope is RerankScope.ALL:
        return True
    return segment.item.kind in (Kind.TEXT, Kind.DOCUMENT) or bool(segment.metadata.page)


def joined(query: Sequence[EmbedInput]) -> EmbedInput:
    """Return one input that holds all of a query's words, pictures and passages.

    The default instruction of embedding is replaced by the reranker's own; a user's one stays.
    """
    text = "\n".join(each.text for each in query if each.text)
    images = tuple(image for each in query for image in each.images)
    instruction = query[0].instruction
    return EmbedInput(
        text or None,
        images,
        instruction=None if instruction == QUERY_INSTRUCTION else instruction,
    )


def _scores(
    reranker: Reranker,
    query: EmbedInput,
    documents: Iterator[tuple[Place, EmbedInput]],
    seconds: float | None,
) -> dict[Place, float]:
    """Return P(yes) of the documents, or of as many as the time limit allows.

    The first is scored in any case; its time shows how many more fit.
    """
    scores: dict[Place, float] = {}
    started = time.monotonic()
    count = None if seconds is None else 1
    while batch := dict(islice(documents, count)):
        scores |= zip(batch, reranker.score(query, list(batch.values())), strict=True)
        if seconds is not None:
            spent = time.monotonic() - started
            fitting = int((seconds - spent) / (spent / len(scores)))
            # a later batch is as quick as all before it, or quicker
            count = max(0, min(fitting, len(scores)))
    return scores


def _reranked(hit: Hit, score: float | None) -> Hit:
    if score is None:
        return hit
    return replace(hit, rerank_score=score, relevance=both_judges(hit.relevance, score))


def _documents(
    hits: dict[Place, Hit],
    decode_options: Callable[[Hit], DecodeOptions],
    missed: Callable[[Skipped], None],
) -> Generator[tuple[Place, EmbedInput]]:
    """Decode each hit's file again, a document's page alone, and yield its segment's input."""
    # not needed by a plain search
    from qvsearch.media.moments import decode as decode_moments
    from qvsearch.media.workers import Decoders

    jobs: dict[DecodeOptions, list[tuple[Item, str]]] = {}
    options = {place: _of_hit(decode_options(hit), hit.segment) for place, hit in hits.items()}
    for place, hit in hits.items():
        job = (hit.segment.item, hit.segment.content_hash)
        jobs.setdefault(options[place], []).append(job)
    decode = partial(decode_moments, moments=_pages(hits.values()), most_frames=0)
    with Decoders(decode=decode) as decoders:
        outcomes = {each: decoders.decode(some, each) for each, some in jobs.items()}
        for place, hit in hits.items():
            outcome = next(outcomes[options[place]])
            if isinstance(outcome, Skipped):
                missed(outcome)
                continue
            same = [pair for pair in outcome.segments if _same(pair[0], hit.segment)]
            # passages of one long line differ in their snippets only
            same.sort(key=lambda pair: pair[0].snippet != hit.segment.snippet)
            if same:
                yield place, same[0][1]
            else:
                missed(Skipped(hit.segment.item.location, "changed since it was indexed"))


def _of_hit(options: DecodeOptions, segment: Segment) -> DecodeOptions:
    """Return the options without films for the picture of a motion photo."""
    is_picture = segment.item.kind is Kind.IMAGE and segment.start is None
    return replace(options, films=False) if is_picture else options


def _pages(hits: Iterable[Hit]) -> dict[bytes, list[tuple[float, float]]]:
    """Return the places of the pages of documents, by the paths of their files."""
    from qvsearch.media.places import page_place

    pages: dict[bytes, list[tuple[float, float]]] = {}
    for segment in (hit.segment for hit in hits):
        if segment.page is not None:
            pages.setdefault(segment.item.location, []).append(page_place(segment.page))
    return pages


def _same(one: Segment, other: Segment) -> bool:
    return _place(one) == _place(other)


def _place(segment: Segment) -> tuple[object, ...]:
    return (
        *(segment.start, segment.end, segment.lines, segment.clip),
        *(segment.page, segment.section),
    )
