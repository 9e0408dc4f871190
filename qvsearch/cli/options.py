"""The options that commands share: name, parser and help of each.

Options that are used together are a dataclass; `commands.unfolded` makes an option of each field.
Help is a noun phrase and the default; of a flag, it is the effect.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvsearch.errors import QvsearchError
from qvsearch.types import Dtype, Hub, Kind, Orientation, RerankScope, Task

if TYPE_CHECKING:
    from qvsearch.library.filters import Filters
    from qvsearch.retrieval.options import Rerank
    from qvsearch.retrieval.query import Query
    from qvsearch.runtime.loading import Choice

STDIN = b"-"
DAY = 86_400  # seconds
MOST_WEIGHT = 1000  # beside it a weight of 1 counts for nothing


def path(text: str) -> bytes:
    """Return the absolute path as the system's bytes, valid UTF-8 or not."""
    if not text:
        raise QvsearchError("a path is empty; write . for the current folder")
    return os.path.abspath(os.fsencode(text))


def source(text: str) -> bytes:
    """Return a path, or `-` for standard input."""
    return STDIN if text == STDIN.decode() else path(text)


def number(
    option: str, read: type[int] | type[float], least: float, most: float = math.inf
) -> Callable[[str], Any]:
    """Return the parser of an option whose number has limits."""
    limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"

    def parse(text: str) -> int | float:
        try:
            value = read(text)
        except ValueError as error:
            what = "whole number" if read is int else "number"
            raise QvsearchError(
                f"{option} {text!r} is not a {what}; it must be {limits}"
            ) from error
        if not least <= value <= most:
            raise QvsearchError(f"{option} must be {limits}, not {text}")
        return value

    return parse


def choice(
    option: str,
    names: type[StrEnum],
    text: str,
    panel: str | None = None,
    metavar: str | None = None,
) -> Any:  # noqa: ANN401 - as typer.Option
    """Return an option with the help `text` whose value is one of `names`."""

    def parse(value: str) -> StrEnum:
        try:
            return names(value)
        except ValueError as error:
            *others, last = names
            listed = " or ".join(filter(None, (", ".join(others), last)))
            message = f"{option} {value!r} is unknown; give {listed}"
            raise QvsearchError(message) from error

    return typer.Option(
        option,
        parser=parse,
        metavar=metavar or "|".join(names),
        help=text,
        rich_help_panel=panel,
        show_default=False,
    )


def library_names(incomplete: str) -> list[str]:
    """Return the libraries whose names begin so, for the Tab key."""
    from qvsearch.library.names import library_names

    return [name for name in library_names() if name.startswith(incomplete)]


# the groups of the help of `search`
_query = partial(typer.Option, rich_help_panel="Query")
_filter = partial(typer.Option, rich_help_panel="Filters")
_output = partial(typer.Option, rich_help_panel="Output")
_reranking = partial(typer.Option, rich_help_panel="Reranking")
_model = partial(typer.Option, rich_help_panel="Model")

LibraryName = Annotated[
    str | None,
    _model(
        "--library",
        "-l",
        envvar="QVSEARCH_LIBRARY",
        metavar="NAME-OR-FOLDER",
        help="Library: a name in your data folder, or a folder (default: main).",
        autocompletion=library_names,
    ),
]
Device = Annotated[
    str | None, _model(metavar="NAME", help="Device: cuda, mps or cpu (default: the best here).")
]
DtypeOption = Annotated[
    Dtype | None,
    choice(
        "--dtype",
        Dtype,
        "Compute precision (default: the device's; int8 for int8 libraries).",
        "Model",
    ),
]
HubOption = Annotated[
    Hub, choice("--hub", Hub, "Source of model downloads (default: huggingface).", "Model")
]
AdapterOption = Annotated[
    str | None,
    _model(
        "--adapter",
        metavar="FOLDER",
        help="Adapter of the model, as finetune writes it (default: the library's).",
    ),
]
Quiet = Annotated[bool, _output("--quiet", "-q", help="Print only results and errors.")]
Json = Annotated[bool, _output("--json", help="Print JSON, one object a line.")]
Kinds = Annotated[
    list[Kind] | None,
    choice("--kind", Kind, "Kind of file; may be repeated (default: all).", "Filters"),
]
Paths = Annotated[
    list[bytes], typer.Argument(parser=path, metavar="PATH", help="Folders or files.")
]
Top = Annotated[
    int,
    _output(
        "--top",
        "-k",
        parser=number("-k", int, 1),
        metavar="N",
        help="Number of hits (default: 10).",
        show_default=False,
    ),
]
QueryText = Annotated[
    str | None, typer.Argument(metavar="QUERY", help="Words in quotes, or the path of a file.")
]
QueriesText = Annotated[
    str | None,
    typer.Argument(
        metavar="QUERY", help="Words in quotes, the path of a file, or - for standard input."
    ),
]


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
        _query("--not", metavar="TEXT", help="Words to leave out; may be repeated."),
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

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.task is not None and self.instruction is not None:
            raise QvsearchError("--task is an instruction of its own; give it or --instruction")

    @property
    def has_parts(self) -> bool:
        """Whether there is a query even without a text."""
        return bool(self.image or self.like or self.not_ or self.unlike)

    def query(self, text: str | None) -> "Query":
        """Return the query of a text and these parts; raises QvsearchError for an empty one."""
        from qvsearch.models.presets import INSTRUCTIONS
        from qvsearch.retrieval.query import parse_query

        return parse_query(
            text,
            self.image,
            self.instruction if self.task is None else INSTRUCTIONS[self.task],
            without=self.not_ or (),
            like=self.like or (),
            unlike=self.unlike or (),
            like_weight=self.like_weight,
            not_weight=self.not_weight,
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
        )


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """The part of the ranking that is shown."""

    top: Top = 10
    all_: Annotated[
        bool, _output("--all", help="Show the ranking even if nothing is relevant.")
    ] = False
    min_relevance: Annotated[
        float | None,
        _output(
            parser=number("--min-relevance", float, 0, 1),
            metavar="P",
            help="Least relevance of a hit, 0 to 1 (default: 0.2, if the best hit has 0.33).",
        ),
    ] = None
    no_dedupe: Annotated[
        bool, _output("--no-dedupe", help="Show near-duplicates as hits of their own.")
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


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """How hits are printed."""

    paths: Annotated[bool, _output("--paths", help="Print paths only, one a line.")] = False
    print0: Annotated[
        bool, _output("--print0", "-0", help="Print paths only, each ended by a NUL byte.")
    ] = False
    quiet: Quiet = False
    json: Json = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.json + self.paths + self.print0 > 1:
            raise QvsearchError("--json, --paths and --print0 are three ways to print; give one")

    @property
    def is_table(self) -> bool:
        """Whether a person reads them."""
        return not (self.json or self.paths or self.print0)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The library that is searched, and how its model runs."""

    library: LibraryName = None
    model: Annotated[
        str | None,
        _model(
            metavar="ID-OR-FOLDER",
            help="Model that the library must have, or its folder (default: the library's).",
        ),
    ] = None
    adapter: AdapterOption = None
    device: Device = None
    dtype: DtypeOption = None
    hub: HubOption = Hub.HUGGINGFACE

    def choice(self) -> "Choice":
        """Return the user's choice of a model."""
        from qvsearch.runtime.loading import Choice

        return Choice(
            self.model, None, None, self.device, self.dtype, self.hub, adapter=self.adapter
        )
