"""A question to an answer from a person's own files, with checked citations.

`find` searches and reads the hits, `respond` lets a generator write the answer; `ask` does both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.pipeline import answer as search_hits
from qvsearch.retrieval.query import Query
from qvsearch.runtime.loading import own_embedder
from qvsearch.tasks.answers.evidence import Evidence, read_evidence
from qvsearch.tasks.answers.question import LONGEST_QUESTION, REFUSAL, TOP, question_prompt
from qvsearch.types import Detail

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.tasks.answers.evidence import Source
    from qvsearch.tasks.answers.question import Generator, Prompt
    from qvsearch.types import Embedder, Reranker, Skipped

THOUGHTS = "<think>", "</think>"  # what reasoning models write before an answer


# [1], [1, 3], [2-4], [source 1]; and the brackets that models write in Chinese and Japanese
_CITATION = re.compile(
    r"[\[\u3010]\s*(?:sources?\s*)?(\d{1,3}(?:\s*[,;\u2013-]\s*(?:sources?\s*)?\d{1,3})*)\s*[\]\u3011]",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d+)(?:\s*[\u2013-]\s*(\d+))?")
LONGEST_RANGE = 20  # numbers; a longer one is a range of years or pages


@dataclass(frozen=True, slots=True)
class Found:
    """A question with what was found for it; without sources nothing in the library answers it."""

    question: str
    evidence: Evidence

    @property
    def prompt(self) -> Prompt:
        """What a generator reads."""
        return question_prompt(self.question, self.evidence.sources)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `text` is empty if the files do not hold it.

    `citations` are the sources that it cites, in the order of their numbers; `unknown` are cited
    numbers that are not sources. `sources` are all that the model was given, `skipped` the hits
    that could not be read. `model` is None if there was no hit, so that none was run.
    """

    question: str
    text: str = ""
    citations: tuple[Source, ...] = ()
    unknown: tuple[int, ...] = ()
    sources: tuple[Source, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    is_cut: bool = False
    model: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    @property
    def answered(self) -> bool:
        """Whether the text is an answer from the files: it cites one of them."""
        return bool(self.text and self.citations)


def ask(
    library: Library,
    question: str,
    generator: Generator | None = None,
    options: SearchOptions | None = None,
    *,
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
    detail: Detail = Detail.LOW,
    write: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Answer a question from the files of a library; `write` is called with pieces of the text.

    Without a generator Qwen3-VL-2B-Instruct is loaded, after the search; without an embedder the
    library's own model. `detail` is the pixel budget of pictures. Raises QvsearchError for an empty
    question, an empty library, hits of which none can be read, and a generator that fails.
    """
    if generator is None:
        from qvsearch.tasks.answers.local_generator import LocalGenerator

        generator = LocalGenerator()
    found = find(
        library,
        question,
        options or SearchOptions(TOP),
        lambda: embedder or own_embedder(library),
        None if reranker is None else lambda: reranker,
        detail=detail,
    )
    return respond(found, generator, write)


def find(
    library: Library,
    question: str,
    options: SearchOptions,
    load: Callable[[], Embedder],
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
    *,
    detail: Detail = Detail.LOW,
) -> Found:
    """Search for a question, and read the hits; models are released before this returns.

    `missed` is called with each hit that the reranker cannot be given. Raises QvsearchError for an
    empty or endless question, and if there are hits of which none can be read.
    """
    words = question.strip()
    if not words:
        raise QvsearchError("the question is empty; write it in quotes")
    if len(words) > LONGEST_QUESTION:
        raise QvsearchError(
            f"the question has {len(words):,} characters; it may have {LONGEST_QUESTION:,}"
        )
    hits = search_hits(library, Query(words), options, load, load_reranker, missed)
    if not hits:
        return Found(words, Evidence(()))
    evidence = read_evidence(hits, detail)
    if not evidence.sources:
        raise QvsearchError(
            f"none of the hits can be read ({evidence.skipped[0].reason}); see: qvsearch status"
        )
    return Found(words, evidence)


def respond(found: Found, generator: Generator, write: Callable[[str], None]) -> Answer:
    """Let a generator answer from the sources, and check what it cites.

    `write` is called with each piece of the answer, and never with a refusal. Without sources the
    generator is not run.
    """
    evidence = found.evidence
    if not evidence.sources:
        return Answer(found.question)
    shown = _Shown(write)
    reply = generator.generate(found.prompt, shown.add)
    shown.end()
    text = _without_thoughts(reply.text).strip()
    if text.startswith(REFUSAL) or text.rstrip(".").endswith(REFUSAL):
        text = ""
    by_number = {source.number: source for source in evidence.sources}
    numbers = sorted(cited_numbers(text))
    return Answer(
        found.question,
        text,
        tuple(by_number[number] for number in numbers if number in by_number),
        tuple(number for number in numbers if number not in by_number),
        evidence.sources,
        evidence.skipped,
        reply.is_cut,
        generator.name,
        reply.prompt_tokens,
        reply.answer_tokens,
    )


class _Shown:
    """Passes on the pieces of an answer, without thoughts before it, and without a refusal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._held = ""  # what may still turn out to be a thought or a refusal
        self._decided = False

    def add(self, piece: str) -> None:
        """Take the next piece."""
        if self._decided:
            self._write(piece)
            return
        self._held += piece
        start = _without_thoughts(self._held)
        if not any(each.startswith(start[: len(each)]) for each in (REFUSAL, THOUGHTS[0])):
            self._pass_on(start)

    def end(self) -> None:
        """Pass on an answer that is shorter than what begins a refusal."""
        start = _without_thoughts(self._held)
        if not self._decided and not start.startswith((REFUSAL, THOUGHTS[0])):
            self._pass_on(start)

    def _pass_on(self, text: str) -> None:
        self._decided, self._held = True, ""
        if text:
            self._write(text)


def _without_thoughts(text: str) -> str:
    """Return an answer without the thoughts before it, as far as they have ended."""
    return text.rpartition(THOUGHTS[1])[2].lstrip()


def cited_numbers(text: str) -> list[int]:
    """Return the numbers in square brackets, in the order of their first occurrence."""
    numbers: dict[int, None] = {}
    for citation in _CITATION.finditer(text):
        for first, last in _PART.findall(citation[1]):
            start, end = int(first), int(last or first)
            if end - start < LONGEST_RANGE:
                numbers |= dict.fromkeys(range(start, end + 1))
    return list(numbers)
