"""Let a reranker judge the first hits; knows nothing of how it judges."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.combine import evidence_of, relevance_of
from qvsearch.types import EmbedInput, Fingerprint, Hit, Kind, RerankScope, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.retrieval.query import Term
    from qvsearch.types import Reranker

# P(yes) at which a pair answers rather than not: in the recorded scores of Qwen3-VL-Reranker-2B
# the least of the answers has 0.37 (a passage), the most of the others 0.28 (a photo)
YES = 0.33
SUREST = 0.999_999  # neither judge is surer than that, so that neither silences the other
RERANK_TOP = 20

Place = tuple[int, int]  # a hit's place in its block, and the block


@dataclass(frozen=True, slots=True)
class Rerank:
    """Which hits a reranker judges: of the first `top` those in scope, while `seconds` last."""

    scope: RerankScope = RerankScope.AUTO
    top: int = RERANK_TOP
    seconds: float | None = None


def parse_rerank(
    scope: RerankScope | None, top: int | None, budget: str | None, reranker: str | None
) -> Rerank | None:
    """Read the options of reranking; raises QvsearchError for a budget that is no time.

    And for any of them without a scope, which asks for it.
    """
    seconds = parse_budget(budget)
    if scope is not None:
        return Rerank(scope, RERANK_TOP if top is None else top, seconds)
    for option, value in (
        ("--rerank-top", top),
        ("--rerank-budget", budget),
        ("--reranker", reranker),
    ):
        if value is not None:
            raise QvsearchError(f"{option} says how to rerank; add --rerank, which asks for it")
    return None


def parse_budget(text: str | None, option: str = "--rerank-budget") -> float | None:
    """Return the seconds that `5s`, `1.5` or `2m` say; raises QvsearchError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*(s|m?)", text.strip(), re.ASCII)
    if found is None:
        raise QvsearchError(f"{option} {text!r} is no time; write 5s, 1.5s or 2m")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def rerank(
    blocks: Sequence[Sequence[Hit]],
    terms: Sequence[Term],
    reranker: Reranker,
    how: Rerank,
    made: Fingerprint,
    missed: Callable[[Skipped], None],
) -> list[list[Hit]]:
    """Judge the first hits over all blocks by P(yes), and order each block by what comes of it.

    Hits are counted by rank, the first of every block before any second. A judged hit's relevance
    is that of both judgements together, the mean of their log-odds; the others keep theirs.
    `missed` hears of hits whose file is gone or has changed.
    """
    places = sorted(
        (place, number) for number, block in enumerate(blocks) for place in range(len(block))
    )
    hits = {place: blocks[place[1]][place[0]] for place in places[: how.top]}
    judged = {place: hit for place, hit in hits.items() if in_scope(hit.segment, how.scope)}
    query = joined([each for term in terms if term.weight > 0 for each in term.inputs])
    with closing(_documents(judged, made, missed)) as documents:
        found = _scores(reranker, query, documents, how.seconds)
    return [
        sorted(
            (_judged(hit, found.get((place, number))) for place, hit in enumerate(block)),
            key=lambda hit: -hit.relevance,
        )
        for number, block in enumerate(blocks)
    ]


def both_judges(relevance: float, score: float) -> float:
    """Return the relevance, 0 to 1, that a hit's own and the reranker's P(yes) make together.

    It is the mean of their log-odds (the logarithmic opinion pool, Genest and Zidek 1986).
    """
    embedded, judged = (
        evidence_of(min(max(each, 1 - SUREST), SUREST)) for each in (relevance, score)
    )
    return relevance_of((embedded + judged - evidence_of(YES)) / 2)


def in_scope(segment: Segment, scope: RerankScope) -> bool:
    """Tell whether a hit is judged: in auto what the 2B reranker helps with, texts and pages.

    It lowers the order of photos and videos slightly (Qwen3-VL-Embedding report, MMEB-V2: 74.8
    to 74.0 and 53.6 to 53.2) and raises that of visual documents (79.2 to 83.2).
    """
    if scope is RerankScope.ALL:
        return True
    return segment.item.kind is Kind.TEXT or bool(segment.metadata.page)


def joined(query: Sequence[EmbedInput]) -> EmbedInput:
    """Return one input that holds all of a query's words, pictures and passages.

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


def _scores(
    reranker: Reranker,
    query: EmbedInput,
    documents: Iterator[tuple[Place, EmbedInput]],
    seconds: float | None,
) -> dict[Place, float]:
    """Return P(yes) of the documents, of the first ones only where the time does not last.

    One is judged whatever it takes, and teaches how many more fit.
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


def _judged(hit: Hit, score: float | None) -> Hit:
    if score is None:
        return hit
    return replace(hit, rerank_score=score, relevance=both_judges(hit.relevance, score))


def _documents(
    hits: dict[Place, Hit], made: Fingerprint, missed: Callable[[Skipped], None]
) -> Generator[tuple[Place, EmbedInput]]:
    """Decode each hit's file again and yield the input of just its segment."""
    from qvsearch.media.workers import Decoders  # which a plain search need not wait for

    jobs = [(hit.segment.item, hit.segment.content_hash) for hit in hits.values()]
    with Decoders() as decoders:
        outcomes = decoders.decode(jobs, made.detail.max_pixels, made.video_mode)
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
    return (one.start, one.end, one.lines, one.clip) == (
        other.start,
        other.end,
        other.lines,
        other.clip,
    )
