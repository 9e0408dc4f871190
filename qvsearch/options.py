"""The options that commands share, with their help; it runs nothing."""

import os
from typing import Annotated

import typer
from typer.core import TyperCommand

from qvsearch.errors import QvsearchError
from qvsearch.types import Detail, Dtype, Hub, Kind, VideoMode

RERANKED = 20  # how many hits `--rerank` judges where it names no number


def path(text: str) -> bytes:
    """Read a path; the system's bytes are kept, whatever they are."""
    if not text:
        raise QvsearchError("a path is empty; write . for the current folder")
    return os.path.abspath(os.fsencode(text))


class SearchCommand(TyperCommand):
    """Lets `--rerank` stand without a number, which Typer's options cannot."""

    # Typer hides the class that it calls this with; typer.Context is what it makes
    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Write the default number behind a `--rerank` that no number follows."""
        options = args[: args.index("--")] if "--" in args else args
        for place, option in enumerate(options):
            if option == "--rerank" and not "".join(args[place + 1 : place + 2]).isdecimal():
                args[place] = f"--rerank={RERANKED}"
        return super().parse_args(ctx, args)


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
    Dtype | None, typer.Option("--dtype", help="What to compute with; else the device's own.")
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
Top = Annotated[
    int, typer.Option("--top", "-k", min=1, metavar="N", help="How many hits of each kind.")
]
Under = Annotated[
    bytes | None, typer.Option(parser=path, metavar="PATH", help="Only this folder or file.")
]
After = Annotated[
    str | None, typer.Option(metavar="DATE", help="Only files changed then or later.")
]
Before = Annotated[str | None, typer.Option(metavar="DATE", help="Only files changed before then.")]
Rerank = Annotated[
    int | None,
    typer.Option(min=1, metavar="[N]", help=f"Let a reranker judge N hits; {RERANKED} if no N."),
]
RerankerName = Annotated[
    str | None, typer.Option("--reranker", metavar="ID-OR-FOLDER", help="Which reranker.")
]
Instruction = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What the model is told to look for.")
]
PathsOnly = Annotated[bool, typer.Option("--paths", help="Print paths only, one a line.")]
Print0 = Annotated[
    bool, typer.Option("--print0", "-0", help="Print paths only, each ended by a NUL.")
]
