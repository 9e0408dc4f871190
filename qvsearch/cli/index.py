"""The command index."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Hub
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.ray import RayOptions, check_local, place, run_on_cluster
from qvsearch.cli.server_options import ServerOptions
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.types import Detail, Kind, Stored, VideoMode

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.library.rules import ScanOptions

MOST_DECODERS = 256

indexing = typer.Typer(rich_markup_mode=None)


@indexing.command(cls=Command)
@unfolded
def index(
    *,
    paths: Annotated[
        list[bytes] | None,
        typer.Argument(
            parser=place,
            metavar="PATH",
            help="Folders or files (default: all that the library has).",
        ),
    ] = None,
    kind: options.Kinds = None,
    detail: Annotated[
        Detail | None,
        options.choice(
            "--detail",
            Detail,
            "Image detail of a new library (default: medium; low on a CPU).",
        ),
    ] = None,
    document_detail: Annotated[
        Detail | None,
        options.choice(
            "--document-detail",
            Detail,
            "Detail of pages of documents in a new library (default: as --detail).",
        ),
    ] = None,
    video_mode: Annotated[
        VideoMode | None,
        options.choice(
            "--video-mode",
            VideoMode,
            "Segments of videos in a new library: single frames, clips, or both (default: frames).",
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--dim", int, 1),
            metavar="N",
            help="Vector dimensions of a new library (default: the model's maximum).",
        ),
    ] = None,
    store: Annotated[
        Stored | None,
        options.choice(
            "--store",
            Stored,
            "Storage type of vectors in a new library: float16 (default) or int8 (half the size).",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Files to take, as in .gitignore; remembered with the folder."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Files to leave out, as in .gitignore; remembered with the folder.",
        ),
    ] = None,
    forget_rules: Annotated[
        bool,
        typer.Option("--forget-rules", help="Drop the patterns and other rules of earlier runs."),
    ] = False,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Take names that begin with a dot, too.")
    ] = False,
    follow_symlinks: Annotated[
        bool,
        typer.Option("--follow-symlinks", help="Follow symbolic links, to each folder once."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be done and how long it would take."),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove missing files even if a whole folder is missing or empty."
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the files that failed before.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Embed everything again.")] = False,
    no_ocr: Annotated[
        bool,
        typer.Option("--no-ocr", help="Skip reading the words in screenshots and scanned pages."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 3 also for files that were skipped before."),
    ] = False,
    library: options.LibraryName = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-PATH",
            help="Model of a new library: a hub's id, a folder, a GGUF file, demo, or st:ID of"
            " sentence-transformers (default: QVSEARCH_MODEL, or Qwen/Qwen3-VL-Embedding-2B).",
        ),
    ] = None,
    adapter: options.AdapterOption = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    servers: ServerOptions,
    gguf: options.NewGgufOptions,
    decode_workers: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--decode-workers", int, 1, MOST_DECODERS),
            metavar="N",
            help="Processes that decode files (default: one less than cores, 16 at most).",
        ),
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
    cluster: RayOptions,
) -> None:
    """Bring a library up to date with folders and files.

    \b
    qvsearch index ~/Photos ~/Videos ~/Notes
    qvsearch index
    qvsearch index ~/Photos --dry-run
    qvsearch index ~/Notes --kind text --exclude 'drafts/'
    qvsearch index ~/Photos --library holidays --model Qwen/Qwen3-VL-Embedding-2B
    qvsearch index ~/Photos --library small --model Q8_0.gguf
    qvsearch index /mnt/nas/Photos --ray auto --publish s3://archive/photos
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli import interrupt, progress
    from qvsearch.freshness.comparing import comparison_of
    from qvsearch.indexing import pipeline
    from qvsearch.indexing.changes import resolve
    from qvsearch.indexing.reading import unread_note
    from qvsearch.library.known_paths import known_paths
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.rules import ScanOptions
    from qvsearch.machine.estimate import advice, keep_run_speeds, page_advice, plan_index
    from qvsearch.machine.speeds import RunTimer
    from qvsearch.runtime import creating, loading

    choice = servers.served(
        loading.Choice(model, dim, detail, device, dtype, hub, video_mode, store, adapter)
    )
    choice = replace(choice, mmproj=gguf.mmproj, document_detail=document_detail)
    kinds = frozenset(kind) if kind else None
    scan = ScanOptions(kinds, tuple(include or ()), tuple(exclude or ()), hidden, follow_symlinks)
    how = pipeline.IngestOptions(
        scan,
        forget_rules,
        prune,
        retry_failed,
        force,
        as_before=not paths,
        decode_workers=decode_workers,
        ocr=not no_ocr,
    )
    if cluster.ray is not None:
        others = {"--store": store, "--forget-rules": forget_rules, "--dry-run": dry_run}
        cluster.refuse(library, {**others, "--retry-failed": retry_failed})
        run_on_cluster(cluster, paths, choice, how, quiet=quiet, json=json)
    check_local(paths)
    folder = library_folder(library)
    if not paths:
        _check_all(scan, forget_rules, prune)
        paths = known_paths(folder)
    if dry_run:
        plan, estimate = plan_index(folder, paths, choice, how)
        progress.show_plan(plan, estimate, json=json)
        raise typer.Exit(ExitCode.INCOMPLETE if plan.unreachable else ExitCode.DONE)
    if not Library.exists(folder):
        resolve([], paths)  # before anything is downloaded
    opened = creating.open_or_create(folder, choice)
    _check_kinds(opened, kinds or frozenset())
    _hint(opened, [] if how.as_before else paths, forget_rules, quiet)
    comparison = comparison_of(opened, choice, accepted=gguf.accept_quantisation)

    def advise(segments: "Mapping[Kind, int]") -> list[str]:
        both = advice(opened, choice, segments), page_advice(opened, segments)
        return [each for each in both if each is not None]

    timer = RunTimer(opened.fingerprint.detail)
    with interrupt.interrupts() as stop, progress.Progress(quiet, json, advice=advise) as report:
        summary = pipeline.index(
            opened,
            paths,
            lambda: timer.around(loading.load_embedder(opened.fingerprint, choice)),
            how,
            report,
            stop,
            comparison,
        )
    keep_run_speeds(timer, opened.fingerprint, choice)
    progress.show_summary(summary, quiet=quiet, json=json)
    if summary.indexed and summary.pictures_unread:
        output.hint(unread_note(summary.pictures_unread), quiet)
    if output.is_watched(quiet or json):
        _hint_absent(opened, summary.unreachable)
    raise typer.Exit(progress.exit_code(summary, strict))


def _hint_absent(library: "Library", unreachable: Sequence[bytes]) -> None:
    """Name the command for each root that seems to have been moved; others may be unplugged."""
    from qvsearch.indexing.roots import absent_roots
    from qvsearch.library.names import option

    for root in absent_roots(library):
        old = os.fsdecode(root.path)
        if root.other is not None and root.is_elsewhere:
            output.hint(
                f"{root.shared:,} of {output.counted(root.files, 'file')} of {old},"
                f" which is not there, are in {os.fsdecode(root.other)}, too;"
                f" to forget the old place: qvsearch remove {quote(old)}{option(library.folder)}"
            )
        elif root.path in unreachable:
            output.hint(
                "if the folder has a new name or place:"
                f" qvsearch roots move {quote(old)} NEW{option(library.folder)}"
            )


def _check_all(scan: "ScanOptions", forget_rules: bool, prune: bool) -> None:
    """Raise QvsearchError for options that need a path."""
    given = {
        "--kind": scan.kinds,
        "--include": scan.include,
        "--exclude": scan.exclude,
        "--forget-rules": forget_rules,
        "--prune": prune,  # it would forget each drive that is away
        "--hidden": scan.hidden,
        "--follow-symlinks": scan.follow_symlinks,
    }
    for name in (name for name, value in given.items() if value):
        raise QvsearchError(
            f"{name} is for named folders, and without PATH each is indexed as before;"
            f" name its folder: qvsearch index PATH {name}"
        )


def _check_kinds(library: "Library", kinds: frozenset[Kind]) -> None:
    """Raise QvsearchError for a kind that the library's model does not embed."""
    own = library.fingerprint.kinds
    wrong = [kind for kind in kinds if own and kind not in own]
    if wrong:
        raise QvsearchError(
            f"{library.fingerprint.model} embeds only {' and '.join(own)} files;"
            f" leave out --kind {wrong[0]}, or index into a new --library with another --model"
        )


def _hint(library: "Library", paths: Sequence[bytes], forget_rules: bool, quiet: bool) -> None:
    """Point out a network folder, the demo's model, and patterns of earlier runs."""
    from qvsearch.files import is_below
    from qvsearch.indexing import mounts
    from qvsearch.indexing.roots import remembered_rules
    from qvsearch.library.aliases import aliases
    from qvsearch.library.rules import patterns_text
    from qvsearch.runtime.backends import notes

    output.hint_demo(library.fingerprint, quiet)
    for note in notes(library.fingerprint):
        output.hint(note, quiet)
    if (warning := mounts.warning(library.folder)) is not None:
        output.hint(warning, quiet)
    if forget_rules:
        return
    names = {name for path in paths for name in aliases(path, library.roots)}
    for root, rules in remembered_rules(library).items():
        patterns = patterns_text(rules)
        if patterns and any(is_below(name, root) for name in names):
            output.hint(f"{output.safe_text(root)} is indexed with {patterns}", quiet)
