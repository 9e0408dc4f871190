"""A person's query, and its terms as inputs of the model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.choices import By
from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import content_hash
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.asked_words import AskedWords, asked_words, is_empty_quote, plain
from qvsearch.types import EmbedInput, Item, Kind, Segment, Skipped, is_file_name, kind_of

if TYPE_CHECKING:
    from qvsearch.retrieval.joined_words import JoinedWords
    from qvsearch.types import DecodeOptions, Pixels

PICTURES = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.DOCUMENT})
EXAMPLES = "such as .jpg, .mp4, .pdf or .txt"
QUERY_SEGMENTS = 8  # frames, pages or passages that stand for a file in a query


@dataclass(frozen=True, slots=True)
class Query:
    """Words, a file, or words with an image as one model input; and examples.

    `file` and `like` are images, videos, documents or texts. `without` (words) and `unlike` (files)
    are left out by meaning. Words in quotes must stand in a file, and none of `lacking` may. `by`
    limits the comparison to words or to meaning. Each example has the weight of its option; the
    words or the file have weight 1. Paths are absolute bytes. Raises QvsearchError for a query
    without anything to look for.
    """

    words: str | None = None
    file: bytes | None = None
    image: bytes | None = None
    without: tuple[str, ...] = ()
    like: tuple[bytes, ...] = ()
    unlike: tuple[bytes, ...] = ()
    like_weight: float = 1.0
    not_weight: float = 1.0
    instruction: str = QUERY_INSTRUCTION
    lacking: tuple[str, ...] = ()
    by: By = By.BOTH

    def __post_init__(self) -> None:
        """Raise QvsearchError for a query that no row can be compared with."""
        if not (self.words or self.file or self.image or self.like):
            raise QvsearchError(
                "the query looks for nothing; give words, the path of a file, --image FILE"
                " or --like FILE, or only filters"
            )
        for option, weight in (
            ("--like-weight", self.like_weight),
            ("--not-weight", self.not_weight),
        ):
            if not (math.isfinite(weight) and weight > 0):
                raise QvsearchError(f"{option} {weight:g} is no weight; give a number above 0")
        if not all(each.strip() for each in self.without):
            raise QvsearchError("--not is empty; give words to leave out")
        self._check_words()
        for part, text in (
            ("the query", self.words or ""),
            *(("--without", each) for each in self.lacking),
            ("--instruction", self.instruction),
            *(("--not", each) for each in self.without),
        ):
            try:
                text.encode()
            except UnicodeEncodeError as error:  # the terminal sent a byte that is no letter
                raise QvsearchError(f"{part} is no UTF-8 text; type it again") from error

    def _check_words(self) -> None:
        """Raise QvsearchError for words that are asked for and are none."""
        for each in self.lacking:
            if not asked_words(each):
                raise QvsearchError(f"--without {each!r} has no letter and no digit; give a word")
        if self.words and self.by is not By.MEANING and is_empty_quote(self.words):
            raise QvsearchError(f"{self.words} has no letter and no digit; give words in quotes")
        if self.by is By.MEANING and self.lacking:
            raise QvsearchError("--meaning-only reads no words; give --not instead of --without")
        others = self.file or self.image or self.like or self.unlike or self.without
        if self.by is By.WORDS and (others or not asked_words(self.words)):
            raise QvsearchError("--words-only needs words, and takes no files, examples or --not")


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: its model inputs, of which the best counts for a row.

    `text` is its name in the command. `weight` is negative if it is to be left out. `segments` are
    those of a file, if that is the whole term; the library may have copies of it. `asked` are the
    exact words of the query, which its first term has; without inputs only these count. `among` has
    the words of all libraries that are searched, None for one alone.
    """

    text: str
    inputs: tuple[EmbedInput, ...]
    weight: float
    segments: tuple[Segment, ...] = ()
    asked: AskedWords = AskedWords()
    among: JoinedWords | None = None

    @property
    def words(self) -> float:
        """The share that is words: 1, 0.5 for words with pictures, or 0 for a file alone."""
        if self.segments:
            return 0.0
        if not any(each.images or each.video for each in self.inputs):
            return 1.0
        return 0.5 if any(each.text for each in self.inputs) else 0.0

    @property
    def like(self) -> frozenset[Kind]:
        """The kinds of files that a term without words is compared with for its baseline."""
        text = bool(self.segments) and self.segments[0].item.kind is Kind.TEXT
        return frozenset({Kind.TEXT}) if text else PICTURES


def parse_query(
    text: str | None,
    image: bytes | None = None,
    instruction: str | None = None,
    *,
    without: Sequence[str] = (),
    like: Sequence[bytes] = (),
    unlike: Sequence[bytes] = (),
    like_weight: float = 1.0,
    not_weight: float = 1.0,
    lacking: Sequence[str] = (),
    by: By = By.BOTH,
) -> Query:
    """Return the query that a person typed; raises QvsearchError for an empty one.

    Text that is the path of an existing file means the file, unless there is an image beside it. A
    folder or a file of an unsupported kind is an error. A single word with a media suffix is
    treated as a path; if there is no such file, that is an error. With By.WORDS no text is a path.
    """
    words = (text or "").strip() or None
    may_be_file = image is None and by is not By.WORDS
    is_file = words is not None and may_be_file and is_path(words, os.fsencode(text or ""))
    return Query(
        words=None if is_file else words,
        file=os.path.abspath(os.fsencode(text or "")) if is_file else None,
        image=None if image is None else os.path.abspath(image),
        without=tuple(each.strip() for each in without),
        like=_absolute(like),
        unlike=_absolute(unlike),
        like_weight=like_weight,
        not_weight=not_weight,
        instruction=instruction or QUERY_INSTRUCTION,
        lacking=tuple(each.strip() for each in lacking),
        by=by,
    )


def compared_by(*, words_only: bool, meaning_only: bool) -> By:
    """Return what two flags mean; raises QvsearchError if both are given."""
    if words_only and meaning_only:
        raise QvsearchError("--words-only and --meaning-only exclude each other; give one of them")
    return By.WORDS if words_only else By.MEANING if meaning_only else By.BOTH


def is_path(words: str, path: bytes) -> bool:
    """Return whether words are the path of an existing file; raises QvsearchError like a query."""
    if _is_there(path):
        problem = _problem(path)
        if problem is not None:
            raise QvsearchError(f'{problem}; to look for the word, add a space: "{words} "')
        return True
    if is_file_name(path) and len(words.split()) == 1:
        raise QvsearchError(
            f"there is no file {words}; to look for its name, put it in quotes: '\"{words}\"'"
        )
    return False


def _problem(path: bytes) -> str | None:
    """Return why a path that exists cannot be a query; None if it can."""
    name = os.fsdecode(path)
    if Path(name).is_dir():
        return f"{name} is a folder; to search in it, give words and --under {quote(name)}"
    if kind_of(path) is not None:
        return None
    suffix = os.fsdecode(os.path.splitext(path)[1])
    sort = f"a {suffix} file" if suffix else "a file without a suffix"
    return f"{name} is {sort}; a query is words, or a file {EXAMPLES}"


def _is_there(location: bytes) -> bool:
    try:
        return os.path.lexists(location)
    except OSError:  # many words are too long for the name of a file
        return False


def _absolute(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(os.path.abspath(path) for path in paths)


def read_terms(
    query: Query, options: DecodeOptions, among: JoinedWords | None = None
) -> list[Term]:
    """Return a query's terms, wanted ones first; raises QvsearchError for files without use.

    `among` has the words of all libraries that are searched, None for one alone.
    """
    if query.image is not None and kind_of(query.image) not in (Kind.IMAGE, None):
        raise QvsearchError(
            f"--image takes a picture; give {os.fsdecode(query.image)} as the query itself"
        )
    files = [query.file, query.image, *query.like, *query.unlike]
    decoded = dict(_decoded([each for each in files if each is not None], options))

    def term(text: str, inputs: Iterable[EmbedInput], weight: float) -> Term:
        queries = (replace(each, instruction=query.instruction) for each in inputs)
        return Term(text, tuple(queries), weight)

    def file_term(path: bytes, weight: float) -> Term:
        whole = term(_name(path), [source for _, source in decoded[path]], weight)
        return replace(whole, segments=tuple(segment for segment, _ in decoded[path]))

    terms = []
    file = query.file or (None if query.words else query.image)
    if file is not None:
        terms.append(file_term(file, 1.0))
    elif query.words:
        images = () if query.image is None else decoded[query.image][0][1].images
        terms.append(term(query.words, _inputs(query.words, query.by, images), 1.0))
    for path in query.like:
        terms.append(file_term(path, query.like_weight))
    for words in query.without:
        terms.append(term(words, [EmbedInput(text=words)], -query.not_weight))
    for path in query.unlike:
        terms.append(file_term(path, -query.not_weight))
    return [replace(terms[0], asked=_asked(query), among=among), *terms[1:]]


def _inputs(words: str, by: By, images: tuple[Pixels, ...]) -> list[EmbedInput]:
    """Return the inputs of words, beside which there may be a picture."""
    if by is By.WORDS:
        return []
    return [EmbedInput(text=words if by is By.MEANING else plain(words), images=images)]


def _asked(query: Query) -> AskedWords:
    """Return the exact words of a query; beside a picture words say how it is to be changed."""
    if query.by is By.MEANING:
        return AskedWords()
    asked = asked_words(query.words, query.lacking, alone=query.by is By.WORDS)
    return asked if query.image is None else replace(asked, tokens=())


def _name(path: bytes) -> str:
    return os.fsdecode(os.path.basename(path))


def _decoded(
    locations: Sequence[bytes], options: DecodeOptions
) -> Iterator[tuple[bytes, list[tuple[Segment, EmbedInput]]]]:
    """Decode a query's files in a worker that can be killed, like any untrusted file.

    Yields each with at most QUERY_SEGMENTS segments and their inputs, spread evenly. A photo with a
    film within it is the photo alone.
    """
    if not locations:
        return
    # not needed by words
    from qvsearch.media.spread import decode
    from qvsearch.media.workers import Decoders

    jobs = [read_item(location) for location in dict.fromkeys(locations)]
    options = replace(options, films=False)
    with Decoders(decode=partial(decode, most=QUERY_SEGMENTS)) as decoders:
        for (item, _), outcome in zip(jobs, decoders.decode(jobs, options), strict=True):
            if isinstance(outcome, Skipped):
                name = os.fsdecode(item.location)
                raise QvsearchError(f"{name} cannot be the query: {outcome.reason}")
            segments = outcome.segments
            picks = np.linspace(0, len(segments) - 1, min(QUERY_SEGMENTS, len(segments)))
            yield item.location, [segments[round(pick)] for pick in picks]


def read_item(location: bytes) -> tuple[Item, str]:
    """Return a file as an item that is its own root, and its content hash."""
    from qvsearch.media.kind_at import kind_at  # not needed by words

    name = os.fsdecode(location)
    kind = kind_at(location)
    if Path(name).is_dir():
        raise QvsearchError(f"{name} is a folder; give a file")
    if kind is None:
        raise QvsearchError(f"{name} has an unsupported suffix; give a file {EXAMPLES}")
    try:
        status = Path(name).stat()
        digest = content_hash(location, status.st_size)
    except OSError as error:
        raise QvsearchError(f"{name}: {system_reason(error)}") from error
    return Item(location, b"", kind, status.st_size, status.st_mtime_ns), digest
