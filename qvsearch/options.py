"""The options that commands share, with their help; it runs nothing."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from qvsearch.errors import QvsearchError
from qvsearch.types import Detail, Dtype, Hub, Kind, Orientation, RerankScope, Stored, VideoMode

if TYPE_CHECKING:
    from collections.abc import Callable


def path(text: str) -> bytes:
    """Read a path; the system's bytes are kept, whatever they are."""
    if not text:
        raise QvsearchError("a path is empty; write . for the current folder")
    return os.path.abspath(os.fsencode(text))


class Commands(TyperGroup):
    """The commands; what stands before one is read without what only some commands need."""

    # Typer hides the class that it calls this with; typer.Context is what it makes
    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options of all commands."""
        _spare(self, ctx)
        return super().parse_args(ctx, args)


class SearchCommand(TyperCommand):
    """Lets `--rerank` stand without a value, which Typer's options cannot."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Write the default scope behind a `--rerank` that none follows."""
        options = args[: args.index("--")] if "--" in args else args
        for place, option in enumerate(options):
            if option == "--rerank" and args[place + 1 : place + 2] not in [
                [s] for s in RerankScope
            ]:
                args[place] = f"--rerank={RerankScope.AUTO}"
        _spare(self, ctx)
        return super().parse_args(ctx, args)


def _spare(command: TyperCommand | TyperGroup, context: Any) -> None:  # noqa: ANN401 (as above)
    """Let words, and what was not given, be taken as they are.

    Typer reads them with pydantic, too, and the import of that is a quarter of the time that a
    query takes whose model is loaded or whose vector is known.
    """
    hints = get_type_hints(command.callback)
    for param in command.get_params(context):
        if not param.required:
            is_text = hints.get(param.name) in (str | None, list[str] | None)
            read = partial(_read, param.process_value, param.default, is_text)
            param.process_value = read  # type: ignore[method-assign]  # of this object alone


def _read(
    process: "Callable[[Any, Any], object]",
    default: object,
    is_text: bool,
    context: object,
    value: object,
) -> object:
    return value if is_text or value is default else process(context, value)


LibraryName = Annotated[
    str | None,
    typer.Option(
        "--library",
        "-l",
        envvar="QVSEARCH_LIBRARY",
        metavar="NAME-OR-FOLDER",
        help="The library; a bare name lives in your data folder.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="ID-OR-FOLDER",
        help="A hub's id, a local folder, or demo; an existing library has its own.",
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="cuda, mps or cpu; else the best here.")
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option(
        "--dtype", help="Compute precision (default: the device's; int8 for int8 libraries)."
    ),
]
HubOption = Annotated[Hub, typer.Option("--hub", help="Where models come from.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")]
Kinds = Annotated[
    list[Kind] | None, typer.Option("--kind", help="Only this kind; may be repeated.")
]
Paths = Annotated[list[bytes], typer.Argument(parser=path, metavar="PATH")]

Include = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Only files like this, as .gitignore.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="No files like this, as .gitignore.")
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Also names that begin with a dot.")]
FollowSymlinks = Annotated[
    bool, typer.Option("--follow-symlinks", help="Also what links point to, each folder once.")
]
DetailOption = Annotated[
    Detail | None,
    typer.Option("--detail", help="Of images in a new library; low on a CPU, else medium."),
]
VideoModeOption = Annotated[
    VideoMode | None,
    typer.Option(
        "--video-mode", help="Of videos in a new library: pictures (frames), clips, or both."
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(metavar="N", help="Numbers a vector in a new library; else the model's most."),
]
StoreOption = Annotated[
    Stored | None,
    typer.Option("--store", help="Of vectors in a new library: float16, or int8 of half the size."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and how long it would take.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Forget files even where a PATH itself is missing or empty.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again the files that failed before.")
]
Force = Annotated[bool, typer.Option("--force", help="Embed everything again.")]

Image = Annotated[
    bytes | None,
    typer.Option(parser=path, metavar="FILE", help="A picture, one query with the words."),
]
Not = Annotated[
    list[str] | None,
    typer.Option("--not", metavar="TEXT", help="Leave out what this says; may be repeated."),
]
Like = Annotated[
    list[bytes] | None,
    typer.Option(parser=path, metavar="FILE", help="Look for what is like it; may be repeated."),
]
Unlike = Annotated[
    list[bytes] | None,
    typer.Option(parser=path, metavar="FILE", help="Leave out what is like it; may be repeated."),
]
LikeWeight = Annotated[
    float, typer.Option(metavar="W", help="How much each --like counts; the words count 1.")
]
NotWeight = Annotated[
    float, typer.Option(metavar="W", help="How strictly each --not and --unlike leaves out.")
]
Top = Annotated[int, typer.Option("--top", "-k", min=1, metavar="N", help="How many hits.")]
All = Annotated[
    bool, typer.Option("--all", help="Show the ranking even where nothing is relevant.")
]
MinRelevance = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="P",
        help="Least relevance of a hit (default: 0.2, if the best has 0.33).",
    ),
]
ByKind = Annotated[bool, typer.Option("--by-kind", help="A list for each kind, with its own N.")]
Exact = Annotated[bool, typer.Option("--exact", help="Score every row, also of a large library.")]
NoDedupe = Annotated[
    bool, typer.Option("--no-dedupe", help="Show near-duplicates as hits of their own.")
]
Under = Annotated[
    list[bytes] | None,
    typer.Option(parser=path, metavar="PATH", help="Only this folder or file; may be repeated."),
]
Glob = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only paths like '**/2023/*.jpg'; may be repeated."),
]
After = Annotated[
    str | None, typer.Option(metavar="DATE", help="Only what was taken then or later.")
]
Before = Annotated[
    str | None, typer.Option(metavar="DATE", help="Only what was taken before then.")
]
Camera = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only what a camera of this name took.")
]
Near = Annotated[
    str | None,
    typer.Option(metavar="LAT,LON[,KM]", help="Only what was taken near this place; else 1 km."),
]
MinSize = Annotated[
    str | None, typer.Option(metavar="WxH", help="Only pictures and videos of so many pixels.")
]
Duration = Annotated[
    str | None, typer.Option(metavar="MIN-MAX", help="Only videos of this length, as 10s-2m.")
]
OrientationOption = Annotated[
    Orientation | None, typer.Option("--orientation", help="Only this shape of picture.")
]
RerankOption = Annotated[
    RerankScope | None,
    typer.Option("--rerank", help="Let a reranker judge texts and pages, or all; auto if bare."),
]
RerankTop = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Among how many of the first hits; else 20.")
]
RerankBudget = Annotated[
    str | None, typer.Option(metavar="TIME", help="For how long, as 5s; then the rest stays.")
]
RerankerName = Annotated[
    str | None, typer.Option("--reranker", metavar="ID-OR-FOLDER", help="Which reranker.")
]
SaveClips = Annotated[
    bytes | None,
    typer.Option(parser=path, metavar="FOLDER", help="Cut the moments of videos out into files."),
]
Padding = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="SECONDS", help="Lengthen each clip before and after (default: 0)."
    ),
]
Instruction = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What the model is told to look for.")
]
PathsOnly = Annotated[bool, typer.Option("--paths", help="Print paths only, one a line.")]
Print0 = Annotated[
    bool, typer.Option("--print0", "-0", help="Print paths only, each ended by a NUL.")
]
