"""The options that commands share, with their help."""

import math
import os
from functools import partial
from typing import Annotated, Any

import typer

from qvsearch.errors import QvsearchError
from qvsearch.types import (
    Detail,
    Dtype,
    Hub,
    Kind,
    Orientation,
    RerankScope,
    Sort,
    Stored,
    VideoMode,
)

STDIN = b"-"
DAY = 86_400  # seconds
MOST_WEIGHT = 1000  # beside it a weight of 1 counts for nothing
# the groups of the help of search
_query = partial(typer.Option, rich_help_panel="Query")
_filter = partial(typer.Option, rich_help_panel="Filters")
_output = partial(typer.Option, rich_help_panel="Output")
_reranking = partial(typer.Option, rich_help_panel="Reranking")
_model = partial(typer.Option, rich_help_panel="Model")


def path(text: str) -> bytes:
    """Read a path; the system's bytes are kept, whatever they are."""
    if not text:
        raise QvsearchError("a path is empty; write . for the current folder")
    return os.path.abspath(os.fsencode(text))


def source(text: str) -> bytes:
    """Read a path, or `-` for standard input."""
    return STDIN if text == STDIN.decode() else path(text)


def number(option: str, read: type[int] | type[float], least: float, most: float = math.inf) -> Any:  # noqa: ANN401 (Typer takes what it returns as the type)
    """Return what reads an option's number, within limits that its errors name."""
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


def library_names(incomplete: str) -> list[str]:
    """Return the libraries whose names begin so, for the Tab key."""
    from qvsearch.library.names import library_names

    return [name for name in library_names() if name.startswith(incomplete)]


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
Model = Annotated[
    str | None,
    _model(
        metavar="ID-OR-FOLDER",
        help="Model of a new library: a hub's id, a folder, or demo. An existing one has its own.",
    ),
]
Device = Annotated[
    str | None, _model(metavar="NAME", help="Device: cuda, mps or cpu (default: the best here).")
]
DtypeOption = Annotated[
    Dtype | None,
    _model(
        "--dtype",
        metavar="|".join(Dtype),
        help="Compute precision (default: the device's; int8 for int8 libraries).",
    ),
]
HubOption = Annotated[
    Hub,
    _model(
        "--hub",
        metavar="|".join(Hub),
        help="Source of model downloads (default: huggingface).",
        show_default=False,
    ),
]
Quiet = Annotated[bool, _output("--quiet", "-q", help="Print only results and errors.")]
Json = Annotated[bool, _output("--json", help="Print JSON, one object a line.")]
Kinds = Annotated[
    list[Kind] | None,
    _filter("--kind", metavar="|".join(Kind), help="Only this kind; may be repeated."),
]
Paths = Annotated[
    list[bytes], typer.Argument(parser=path, metavar="PATH", help="Folders or files.")
]

Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only files like this, as in .gitignore; remembered."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="No files like this, as in .gitignore; remembered."),
]
ForgetRules = Annotated[
    bool,
    typer.Option("--forget-rules", help="Drop the --include and --exclude of earlier runs."),
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Also names that begin with a dot.")]
FollowSymlinks = Annotated[
    bool, typer.Option("--follow-symlinks", help="Also what links point to, each folder once.")
]
DetailOption = Annotated[
    Detail | None,
    typer.Option(
        "--detail",
        metavar="|".join(Detail),
        help="Image detail of a new library (default: low on a CPU, else medium).",
    ),
]
VideoModeOption = Annotated[
    VideoMode | None,
    typer.Option(
        "--video-mode",
        metavar="|".join(VideoMode),
        help="Segments of videos in a new library: single frames, clips, or both"
        " (default: frames).",
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        parser=number("--dim", int, 1),
        metavar="N",
        help="Vector dimensions of a new library (default: the model's maximum).",
    ),
]
StoreOption = Annotated[
    Stored | None,
    typer.Option(
        "--store",
        metavar="|".join(Stored),
        help="Storage type of vectors in a new library: float16 (default) or int8 (half the size).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and how long it would take.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Forget files even if a PATH itself is missing or empty.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again the files that failed before.")
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 3 also for files that were skipped before."),
]
Force = Annotated[bool, typer.Option("--force", help="Embed everything again.")]

Queries = Annotated[
    bytes | None,
    _query(
        parser=source, metavar="FILE", help="Many queries, one a line; the model is loaded once."
    ),
]
Image = Annotated[
    bytes | None,
    _query(parser=path, metavar="FILE", help="A picture that forms one query with the words."),
]
Not = Annotated[
    list[str] | None,
    _query("--not", metavar="TEXT", help="Leave out what these words say; may be repeated."),
]
Like = Annotated[
    list[bytes] | None,
    _query(parser=path, metavar="FILE", help="Look for what is like this file; may be repeated."),
]
Unlike = Annotated[
    list[bytes] | None,
    _query(parser=path, metavar="FILE", help="Leave out what is like this file; may be repeated."),
]
LikeWeight = Annotated[
    float,
    _query(
        parser=number("--like-weight", float, 0, MOST_WEIGHT),
        metavar="W",
        help="Weight of each --like, beside 1 for the words (default: 1).",
        show_default=False,
    ),
]
NotWeight = Annotated[
    float,
    _query(
        parser=number("--not-weight", float, 0, MOST_WEIGHT),
        metavar="W",
        help="Strictness of each --not and --unlike (default: 1).",
        show_default=False,
    ),
]
Instruction = Annotated[
    str | None,
    _query(metavar="TEXT", help="Instruction to the model (default: retrieve what is relevant)."),
]
Exact = Annotated[bool, _query("--exact", help="Score every row, even in a large library.")]

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
All = Annotated[bool, _output("--all", help="Show the ranking even if nothing is relevant.")]
MinRelevance = Annotated[
    float | None,
    _output(
        parser=number("--min-relevance", float, 0, 1),
        metavar="P",
        help="Least relevance of a hit, 0 to 1 (default: 0.2, if the best hit has 0.33).",
    ),
]
SortOption = Annotated[
    Sort | None,
    _output(
        "--sort",
        metavar="|".join(Sort),
        help="Order of the hits (default: relevance; without a query date, newest first).",
    ),
]
ByKind = Annotated[bool, _output("--by-kind", help="A list for each kind, of N hits each.")]
NoDedupe = Annotated[
    bool, _output("--no-dedupe", help="Show near-duplicates as hits of their own.")
]
Under = Annotated[
    list[bytes] | None,
    _filter(parser=path, metavar="PATH", help="Only this folder or file; may be repeated."),
]
Glob = Annotated[
    list[str] | None,
    _filter(metavar="PATTERN", help="Only paths like '**/2023/*.jpg'; may be repeated."),
]
After = Annotated[str | None, _filter(metavar="DATE", help="Only what was taken then or later.")]
Before = Annotated[str | None, _filter(metavar="DATE", help="Only what was taken before then.")]
Camera = Annotated[
    str | None, _filter(metavar="NAME", help="Only what a camera of this name took.")
]
Near = Annotated[
    str | None,
    _filter(
        metavar="LAT,LON[,KM]", help="Only what was taken within KM of this place (default: 1 km)."
    ),
]
MinSize = Annotated[
    str | None,
    _filter(metavar="WxH", help="Only pictures and videos of at least this size in pixels."),
]
Duration = Annotated[
    str | None, _filter(metavar="MIN-MAX", help="Only videos of this length, e.g. 10s-2m.")
]
OrientationOption = Annotated[
    Orientation | None,
    _filter(
        "--orientation",
        metavar="|".join(Orientation),
        help="Only pictures and videos of this shape.",
    ),
]
RerankOption = Annotated[
    RerankScope | None,
    _reranking(
        "--rerank",
        metavar=f"[{'|'.join(RerankScope)}]",
        help="Let a reranker score the first hits: texts and pages (auto, the default) or all.",
    ),
]
RerankTop = Annotated[
    int | None,
    _reranking(
        parser=number("--rerank-top", int, 1),
        metavar="N",
        help="Number of first hits to rerank (default: 20).",
    ),
]
RerankBudget = Annotated[
    str | None,
    _reranking(metavar="TIME", help="Time limit, e.g. 5s; hits not reached keep their relevance."),
]
RerankerName = Annotated[
    str | None,
    _reranking(
        "--reranker", metavar="ID-OR-FOLDER", help="Reranker (default: Qwen/Qwen3-VL-Reranker-2B)."
    ),
]
SaveClips = Annotated[
    bytes | None,
    _output(parser=path, metavar="FOLDER", help="Cut the moments of videos out into files."),
]
Padding = Annotated[
    float | None,
    _output(
        parser=number("--padding", float, 0, DAY),
        metavar="SECONDS",
        help="Lengthen each clip before and after (default: 0).",
    ),
]
PathsOnly = Annotated[bool, _output("--paths", help="Print paths only, one a line.")]
Print0 = Annotated[bool, _output("--print0", "-0", help="Print paths only, each ended by a NUL.")]
