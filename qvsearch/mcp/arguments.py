"""The arguments of the tools, with the names that the command line has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field

from qvsearch.choices import Orientation, Sort
from qvsearch.types import Detail, Kind

if TYPE_CHECKING:
    from qvsearch.library.filters import Filters

MOST_HITS = 100
MOST_EXAMPLES = 16  # each file is decoded and embedded
LONGEST = 10_000  # characters of words; the model reads some thousand tokens
MOST_FRAMES = 16
MOST_NEIGHBOURS = 5

_STRICT = ConfigDict(extra="forbid")  # a misspelt filter must not be ignored

LibraryName = Annotated[
    str | None, Field(description="Name of one library, as `status` lists them (default: all).")
]
Id = Annotated[str, Field(description="`id` of a file, as in an answer.")]
OptionalId = Annotated[str | None, Field(description="`id` of a file, as in an answer.")]
Count = Annotated[int, Field(description="Number of hits.", ge=1, le=MOST_HITS)]
Kinds = Annotated[list[Kind] | None, Field(description="Kinds of files (default: all).")]
LeastRelevance = Annotated[
    float | None,
    Field(
        description="Least relevance of a hit (default: 0.2, if the best hit has 0.33); 0 returns"
        " the whole ranking.",
        ge=0,
        le=1,
    ),
]


def names_of(library: str | None) -> tuple[str, ...]:
    """Return an argument `library` as names for `Shelf`, which takes all without any."""
    return () if library is None else (library,)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryArguments:
    """A query and its filters. A text is always words, never the path of a file."""

    __pydantic_config__ = _STRICT

    query: Annotated[
        str | None,
        Field(
            description='Words to look for, in any language; "exact words" must stand in a hit.',
            max_length=LONGEST,
        ),
    ] = None
    image: Annotated[
        str | None,
        Field(description="`id` of a picture that forms one query with the words."),
    ] = None
    like: Annotated[
        list[str] | None,
        Field(description="`id`s of files to look for more of.", max_length=MOST_EXAMPLES),
    ] = None
    not_: Annotated[
        list[Annotated[str, Field(max_length=LONGEST)]] | None,
        Field(
            alias="not", description="Words for what hits must not show.", max_length=MOST_EXAMPLES
        ),
    ] = None
    without: Annotated[
        list[Annotated[str, Field(max_length=LONGEST)]] | None,
        Field(description="Words that no hit has exactly.", max_length=MOST_EXAMPLES),
    ] = None
    words_only: Annotated[bool, Field(description="Compare exact words alone.")] = False
    meaning_only: Annotated[bool, Field(description="Compare the meaning alone.")] = False
    unlike: Annotated[
        list[str] | None,
        Field(description="`id`s of files that hits must not resemble.", max_length=MOST_EXAMPLES),
    ] = None
    kind: Kinds = None
    under: Annotated[
        list[str] | None, Field(description="Absolute folders or files; one must fit.")
    ] = None
    glob: Annotated[
        list[str] | None, Field(description="Patterns for paths, e.g. **/2023/*.jpg.")
    ] = None
    after: Annotated[
        str | None, Field(description="Earliest date: 2023, 2023-07 or 2023-07-04.")
    ] = None
    before: Annotated[str | None, Field(description="First date that is too late.")] = None
    camera: Annotated[str | None, Field(description="Part of the camera's name.")] = None
    near: Annotated[
        str | None, Field(description="Place: LAT,LON or LAT,LON,KM (default: 1 km).")
    ] = None
    min_size: Annotated[str | None, Field(description="Least pixels, e.g. 1920x1080.")] = None
    duration: Annotated[str | None, Field(description="Length of videos, e.g. 10s or 10s-2m.")] = (
        None
    )
    orientation: Annotated[
        Orientation | None, Field(description="Shape of pictures and videos.")
    ] = None
    place: Annotated[
        str | None, Field(description="City, region or country, e.g. Vienna or Bavaria.")
    ] = None
    suffix: Annotated[
        list[str] | None, Field(description="Ends of names, e.g. pdf; one must fit.")
    ] = None
    title: Annotated[str | None, Field(description="Part of the title.")] = None
    author: Annotated[str | None, Field(description="Part of the author's name.")] = None
    keyword: Annotated[
        list[str] | None, Field(description="Keywords of the file; all must fit.")
    ] = None
    rating: Annotated[str | None, Field(description="Stars, 0 to 5, e.g. 4 or 2-4.")] = None
    page: Annotated[
        str | None, Field(description="Page of a document, from 1, e.g. 12 or 3-8.")
    ] = None
    language: Annotated[str | None, Field(description="Language of a text, e.g. de or en.")] = None
    k: Count = 10
    min_relevance: LeastRelevance = None
    library: LibraryName = None

    @property
    def has_query(self) -> bool:
        """Whether there is anything to look for, or only filters."""
        return bool(self.query or self.image or self.like or self.not_ or self.unlike)

    def filters(self) -> Filters:
        """Return the filters; raises QvsearchError for a value that cannot be read."""
        from qvsearch.library.filters import FILTERS, filters_by_name

        return filters_by_name({name: getattr(self, name) for name in FILTERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchArguments(QueryArguments):
    """The arguments of `search`."""

    __pydantic_config__ = _STRICT

    sort: Annotated[
        Sort | None,
        Field(description="Order (default: relevance; without a query date, newest first)."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainArguments(QueryArguments):
    """The arguments of `explain`."""

    __pydantic_config__ = _STRICT

    id: OptionalId = None
    path: Annotated[
        str | None, Field(description="Absolute path of a file in the library's folders.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarArguments:
    """The arguments of `similar`."""

    __pydantic_config__ = _STRICT

    id: Id
    kind: Kinds = None
    k: Count = 10
    library: LibraryName = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusArguments:
    """The arguments of `status`."""

    __pydantic_config__ = _STRICT

    library: LibraryName = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadArguments:
    """The arguments of `read`."""

    __pydantic_config__ = _STRICT

    id: Id
    detail: Annotated[
        Detail,
        Field(
            description="Tokens of the answer's pictures together: about 256 (low), 768 (medium)"
            " or 1800 (high)."
        ),
    ] = Detail.MEDIUM
    start: Annotated[
        float | None, Field(description="Begin of a video's moment in seconds.", ge=0)
    ] = None
    end: Annotated[
        float | None, Field(description="End of the moment (default: the whole video).", ge=0)
    ] = None
    frames: Annotated[
        int | None,
        Field(description="Number of frames of the moment (default: 4).", ge=1, le=MOST_FRAMES),
    ] = None
    lines: Annotated[
        list[int] | None,
        Field(
            description="First and last line of a text's passage, as in a hit.",
            min_length=2,
            max_length=2,
        ),
    ] = None
    section: Annotated[
        str | None, Field(description="Place of a text's passage without lines, as in a hit.")
    ] = None
    page: Annotated[
        int | None, Field(description="Page of a document, from 1 (default: the first).", ge=1)
    ] = None
    passage: Annotated[
        int | None, Field(description="Number of a text's passage, from 1, to read on.", ge=1)
    ] = None
    neighbours: Annotated[
        int | None,
        Field(
            description="Number of passages before and after it (default: 1), or of pages"
            " (default: 0).",
            ge=0,
            le=MOST_NEIGHBOURS,
        ),
    ] = None
    library: LibraryName = None
