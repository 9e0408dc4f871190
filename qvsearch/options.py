"""The options that commands share, with their help."""

import math
import os
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
QUERY, FILTERS, OUTPUT, RERANKING, MODEL = "Query", "Filters", "Output", "Reranking", "Model"


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
    from qvsearch.names import library_names

    return [name for name in library_names() if name.startswith(incomplete)]


LibraryName = Annotated[
    str | None,
    typer.Option(
        "--library",
        "-l",
        envvar="QVSEARCH_LIBRARY",
        metavar="NAME-OR-FOLDER",
        help="Library: a name in your data folder, or a folder (default: main).",
        autocompletion=library_names,
        rich_help_panel=MODEL,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="ID-OR-FOLDER",
        help="Model of a new library: a hub's id, a folder, or demo. An existing one has its own.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Device: cuda, mps or cpu (default: the best here).",
        rich_help_panel=MODEL,
    ),
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option(
        "--dtype",
        metavar="|".join(Dtype),
        help="Compute precision (default: the device's; int8 for int8 libraries).",
        rich_help_panel=MODEL,
    ),
]
HubOption = Annotated[
    Hub,
    typer.Option(
        "--hub",
        metavar="|".join(Hub),
        help="Source of model downloads (default: huggingface).",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only results and errors.", rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, one object a line.", rich_help_panel=OUTPUT)
]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option(
        "--kind",
        metavar="|".join(Kind),
        help="Only this kind; may be repeated.",
        rich_help_panel=FILTERS,
    ),
]
Paths = Annotated[
    list[bytes], typer.Argument(parser=path, metavar="PATH", help="Folders or files.")
]

Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only files like this, as in .gitignore."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="No files like this, as in .gitignore."),
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
Force = Annotated[bool, typer.Option("--force", help="Embed everything again.")]

Queries = Annotated[
    bytes | None,
    typer.Option(
        parser=source,
        metavar="FILE",
        help="Many queries, one a line; the model is loaded once.",
        rich_help_panel=QUERY,
    ),
]
Image = Annotated[
    bytes | None,
    typer.Option(
        parser=path,
        metavar="FILE",
        help="A picture that forms one query with the words.",
        rich_help_panel=QUERY,
    ),
]
Not = Annotated[
    list[str] | None,
    typer.Option(
        "--not",
        metavar="TEXT",
        help="Leave out what these words say; may be repeated.",
        rich_help_panel=QUERY,
    ),
]
Like = Annotated[
    list[bytes] | None,
    typer.Option(
        parser=path,
        metavar="FILE",
        help="Look for what is like this file; may be repeated.",
        rich_help_panel=QUERY,
    ),
]
Unlike = Annotated[
    list[bytes] | None,
    typer.Option(
        parser=path,
        metavar="FILE",
        help="Leave out what is like this file; may be repeated.",
        rich_help_panel=QUERY,
    ),
]
LikeWeight = Annotated[
    float,
    typer.Option(
        parser=number("--like-weight", float, 0),
        metavar="W",
        help="Weight of each --like, beside 1 for the words (default: 1).",
        show_default=False,
        rich_help_panel=QUERY,
    ),
]
NotWeight = Annotated[
    float,
    typer.Option(
        parser=number("--not-weight", float, 0),
        metavar="W",
        help="Strictness of each --not and --unlike (default: 1).",
        show_default=False,
        rich_help_panel=QUERY,
    ),
]
Instruction = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Instruction to the model (default: retrieve what is relevant).",
        rich_help_panel=QUERY,
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Score every row, even in a large library.", rich_help_panel=QUERY
    ),
]

Top = Annotated[
    int,
    typer.Option(
        "--top",
        "-k",
        parser=number("-k", int, 1),
        metavar="N",
        help="Number of hits (default: 10).",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
All = Annotated[
    bool,
    typer.Option(
        "--all", help="Show the ranking even if nothing is relevant.", rich_help_panel=OUTPUT
    ),
]
MinRelevance = Annotated[
    float | None,
    typer.Option(
        parser=number("--min-relevance", float, 0, 1),
        metavar="P",
        help="Least relevance of a hit, 0 to 1 (default: 0.2, if the best hit has 0.33).",
        rich_help_panel=OUTPUT,
    ),
]
SortOption = Annotated[
    Sort | None,
    typer.Option(
        "--sort",
        metavar="|".join(Sort),
        help="Order of the hits (default: relevance; without a query date, newest first).",
        rich_help_panel=OUTPUT,
    ),
]
ByKind = Annotated[
    bool,
    typer.Option("--by-kind", help="A list for each kind, of N hits each.", rich_help_panel=OUTPUT),
]
NoDedupe = Annotated[
    bool,
    typer.Option(
        "--no-dedupe",
        help="Show near-duplicates as hits of their own.",
        rich_help_panel=OUTPUT,
    ),
]
Under = Annotated[
    list[bytes] | None,
    typer.Option(
        parser=path,
        metavar="PATH",
        help="Only this folder or file; may be repeated.",
        rich_help_panel=FILTERS,
    ),
]
Glob = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Only paths like '**/2023/*.jpg'; may be repeated.",
        rich_help_panel=FILTERS,
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="Only what was taken then or later.", rich_help_panel=FILTERS
    ),
]
Before = Annotated[
    str | None,
    typer.Option(metavar="DATE", help="Only what was taken before then.", rich_help_panel=FILTERS),
]
Camera = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Only what a camera of this name took.", rich_help_panel=FILTERS
    ),
]
Near = Annotated[
    str | None,
    typer.Option(
        metavar="LAT,LON[,KM]",
        help="Only what was taken within KM of this place (default: 1 km).",
        rich_help_panel=FILTERS,
    ),
]
MinSize = Annotated[
    str | None,
    typer.Option(
        metavar="WxH",
        help="Only pictures and videos of at least this size in pixels.",
        rich_help_panel=FILTERS,
    ),
]
Duration = Annotated[
    str | None,
    typer.Option(
        metavar="MIN-MAX",
        help="Only videos of this length, e.g. 10s-2m.",
        rich_help_panel=FILTERS,
    ),
]
OrientationOption = Annotated[
    Orientation | None,
    typer.Option(
        "--orientation",
        metavar="|".join(Orientation),
        help="Only pictures and videos of this shape.",
        rich_help_panel=FILTERS,
    ),
]
RerankOption = Annotated[
    RerankScope | None,
    typer.Option(
        "--rerank",
        metavar=f"[{'|'.join(RerankScope)}]",
        help="Let a reranker score the first hits: texts and pages (auto, the default) or all.",
        rich_help_panel=RERANKING,
    ),
]
RerankTop = Annotated[
    int | None,
    typer.Option(
        parser=number("--rerank-top", int, 1),
        metavar="N",
        help="Number of first hits to rerank (default: 20).",
        rich_help_panel=RERANKING,
    ),
]
RerankBudget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time limit, e.g. 5s; hits not reached keep their relevance.",
        rich_help_panel=RERANKING,
    ),
]
RerankerName = Annotated[
    str | None,
    typer.Option(
        "--reranker",
        metavar="ID-OR-FOLDER",
        help="Reranker (default: Qwen/Qwen3-VL-Reranker-2B).",
        rich_help_panel=RERANKING,
    ),
]
SaveClips = Annotated[
    bytes | None,
    typer.Option(
        parser=path,
        metavar="FOLDER",
        help="Cut the moments of videos out into files.",
        rich_help_panel=OUTPUT,
    ),
]
PathsOnly = Annotated[
    bool, typer.Option("--paths", help="Print paths only, one a line.", rich_help_panel=OUTPUT)
]
Print0 = Annotated[
    bool,
    typer.Option(
        "--print0", "-0", help="Print paths only, each ended by a NUL.", rich_help_panel=OUTPUT
    ),
]
