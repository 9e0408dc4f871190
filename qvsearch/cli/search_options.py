"""The options of a search: its query, filters, ranking and reranking.

`commands.unfolded` makes an option of each field of these dataclasses.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Orientation, RerankScope, Task
from qvsearch.cli.options import Kinds, Top, choice, number, output_option, path
from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from qvsearch.library.filters import Filters
    from qvsearch.retrieval.options import Rerank
    from qvsearch.retrieval.query import Query

MOST_WEIGHT = 1000  # beside it a weight of 1 counts for nothing

_query = partial(typer.Option, rich_help_panel="Query")
_filter = partial(typer.Option, rich_help_panel="Filters")
_reranking = partial(typer.Option, rich_help_panel="Reranking")


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The parts of a query beside its text."""

    image: Annotated[
        bytes | None,
        _query(parser=path, metavar="FILE", help="Picture that forms one query with the words."),
    ] = None
    like: Annotated[
        list[bytes] | None,
        _query(parser=path, metavar="FILE", help="Example to look for; may be repeated."),
    ] = None
    not_: Annotated[
        list[str] | None,
        _query("--not", metavar="TEXT", help="Meaning to leave out; may be repeated."),
    ] = None
    without: Annotated[
        list[str] | None,
        _query(
            metavar="WORD",
            help="Word or words that no hit has exactly; may be repeated.",
        ),
    ] = None
    unlike: Annotated[
        list[bytes] | None,
        _query(parser=path, metavar="FILE", help="Example to leave out; may be repeated."),
    ] = None
    like_weight: Annotated[
        float,
        _query(
            parser=number("--like-weight", float, 0, MOST_WEIGHT),
            metavar="W",
            help="Weight of each --like; the words have 1 (default: 1).",
            show_default=False,
        ),
    ] = 1.0
    not_weight: Annotated[
        float,
        _query(
            parser=number("--not-weight", float, 0, MOST_WEIGHT),
            metavar="W",
            help="Strictness of each --not and --unlike (default: 1).",
            show_default=False,
        ),
    ] = 1.0
    instruction: Annotated[
        str | None,
        _query(
            metavar="TEXT", help="Instruction to the model (default: retrieve what is relevant)."
        ),
    ] = None
    task: Annotated[
        Task | None,
        choice("--task", Task, "Published instruction; see: qvsearch models tasks.", "Query"),
    ] = None

    words_only: Annotated[
        bool, _query("--words-only", help="Compare exact words alone; no model is loaded.")
    ] = False
    meaning_only: Annotated[
        bool, _query("--meaning-only", help="Compare meaning alone, not exact words.")
    ] = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.task is not None and self.instruction is not None:
            raise QvsearchError("--task is an instruction of its own; give it or --instruction")

    @property
    def has_parts(self) -> bool:
        """Whether there is a query even without a text."""
        return bool(self.image or self.like or self.not_ or self.unlike)

    def title(self, text: str | None) -> str:
        """Return the query as a title: its text, else its first file, else that there is none."""
        files = [*([self.image] if self.image else []), *(self.like or []), *(self.unlike or [])]
        return text or " ".join(self.not_ or map(os.fsdecode, files[:1])) or "Files"

    def query(self, text: str | None) -> "Query":
        """Return the query of a text and these parts; raises QvsearchError for an empty one."""
        from qvsearch.models.prompt import TASK_INSTRUCTIONS
        from qvsearch.retrieval.query import compared_by, parse_query

        return parse_query(
            text,
            self.image,
            self.instruction if self.task is None else TASK_INSTRUCTIONS[self.task],
            without=self.not_ or (),
            like=self.like or (),
            unlike=self.unlike or (),
            like_weight=self.like_weight,
            not_weight=self.not_weight,
            lacking=self.without or (),
            by=compared_by(words_only=self.words_only, meaning_only=self.meaning_only),
        )


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The files that may be hits."""

    kind: Kinds = None
    under: Annotated[
        list[bytes] | None,
        _filter(parser=path, metavar="PATH", help="Folder or file; may be repeated."),
    ] = None
    glob: Annotated[
        list[str] | None,
        _filter(
            metavar="PATTERN", help="Pattern for paths, e.g. '**/2023/*.jpg'; may be repeated."
        ),
    ] = None
    after: Annotated[
        str | None, _filter(metavar="DATE", help="Earliest date, e.g. 2023-07-04.")
    ] = None
    before: Annotated[
        str | None, _filter(metavar="DATE", help="First date that is too late, e.g. 2024.")
    ] = None
    camera: Annotated[
        str | None, _filter(metavar="NAME", help="Part of the camera's name, e.g. canon.")
    ] = None
    near: Annotated[
        str | None,
        _filter(
            metavar="LAT,LON[,KM]", help="Place in degrees, and distance from it (default: 1 km)."
        ),
    ] = None
    min_size: Annotated[
        str | None, _filter(metavar="WxH", help="Least width and height in pixels.")
    ] = None
    duration: Annotated[
        str | None,
        _filter(metavar="MIN[-MAX]", help="Length of a video, e.g. 10s or 10s-2m."),
    ] = None
    orientation: Annotated[
        Orientation | None,
        choice("--orientation", Orientation, "Shape of pictures and videos.", "Filters"),
    ] = None
    place: Annotated[
        str | None,
        _filter(metavar="NAME", help="City, region or country, in any language, e.g. Vienna."),
    ] = None
    suffix: Annotated[
        list[str] | None,
        _filter(metavar="SUFFIX", help="End of the name, e.g. pdf or pdf,docx; may be repeated."),
    ] = None
    title: Annotated[
        str | None, _filter(metavar="TEXT", help="Part of the title, e.g. report.")
    ] = None
    author: Annotated[
        str | None, _filter(metavar="NAME", help="Part of the author's name, e.g. curie.")
    ] = None
    keyword: Annotated[
        list[str] | None,
        _filter(metavar="WORD", help="Keyword of the file; may be repeated, and all must fit."),
    ] = None
    rating: Annotated[
        str | None, _filter(metavar="MIN[-MAX]", help="Stars, 0 to 5, e.g. 4 or 2-4.")
    ] = None
    page: Annotated[
        str | None, _filter(metavar="N[-M]", help="Page of a document, e.g. 12 or 3-8.")
    ] = None
    language: Annotated[
        str | None, _filter(metavar="CODE", help="Language of a text, e.g. de or en.")
    ] = None

    def filters(self) -> "Filters":
        """Return the filters; raises QvsearchError for a value that cannot be read."""
        from qvsearch.library.filters import parse_filters

        return parse_filters(
            kinds=self.kind or (),
            under=self.under or (),
            globs=self.glob or (),
            after=self.after,
            before=self.before,
            camera=self.camera,
            near=self.near,
            min_size=self.min_size,
            duration=self.duration,
            orientation=self.orientation,
            place=self.place,
            suffixes=self.suffix or (),
            title=self.title,
            author=self.author,
            keywords=self.keyword or (),
            rating=self.rating,
            page=self.page,
            language=self.language,
        )


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """The part of the ranking that is shown."""

    top: Top = 10
    all_: Annotated[
        bool, output_option("--all", help="Show the ranking even if nothing is relevant.")
    ] = False
    min_relevance: Annotated[
        float | None,
        output_option(
            parser=number("--min-relevance", float, 0, 1),
            metavar="P",
            help="Least relevance of a hit, 0 to 1 (default: 0.2, if the best hit has 0.33).",
        ),
    ] = None
    no_dedupe: Annotated[
        bool, output_option("--no-dedupe", help="Show near-duplicates as hits of their own.")
    ] = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.all_ and self.min_relevance is not None:
            raise QvsearchError("--all is --min-relevance 0; give one of them")

    @property
    def least(self) -> float | None:
        """The least relevance of a hit; None is the default."""
        return 0.0 if self.all_ else self.min_relevance


@dataclass(frozen=True, slots=True)
class RerankOptions:
    """How a reranker scores the first hits."""

    rerank: Annotated[
        RerankScope | None,
        choice(
            "--rerank",
            RerankScope,
            "Rerank the first hits: texts and pages (auto, the default) or all.",
            "Reranking",
            f"[{'|'.join(RerankScope)}]",
        ),
    ] = None
    rerank_top: Annotated[
        int | None,
        _reranking(
            parser=number("--rerank-top", int, 1),
            metavar="N",
            help="Number of first hits to rerank (default: 20).",
        ),
    ] = None
    rerank_budget: Annotated[
        str | None,
        _reranking(
            metavar="TIME", help="Time limit, e.g. 5s; hits not reached keep their relevance."
        ),
    ] = None
    reranker: Annotated[
        str | None,
        _reranking(
            metavar="ID-OR-FOLDER",
            help="Reranker, or its adapter (default: Qwen/Qwen3-VL-Reranker-2B).",
        ),
    ] = None

    def parsed(self) -> "Rerank | None":
        """Return how to rerank, or None; raises QvsearchError for a value that cannot be read."""
        from qvsearch.retrieval.options import parse_rerank

        return parse_rerank(self.rerank, self.rerank_top, self.rerank_budget, self.reranker)
