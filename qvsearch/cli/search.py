"""The commands search and explain."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import SearchCommand
from qvsearch.errors import NOTHING_FOUND, QvsearchError
from qvsearch.library.names import option
from qvsearch.types import Hub

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.media.clips import Clip
    from qvsearch.retrieval.query import Query
    from qvsearch.types import Hit

NEAREST = 3  # hits that a terminal shows if none is relevant
SLOW = 3.0  # seconds of loading that are worth a hint

searching = typer.Typer(rich_markup_mode=None)

QueryText = Annotated[
    str | None,
    typer.Argument(
        metavar="QUERY", help="Words in quotes, the path of a file, or - for standard input."
    ),
]


@searching.command(cls=SearchCommand)
def search(
    query: QueryText = None,
    queries: options.Queries = None,
    image: options.Image = None,
    like: options.Like = None,
    not_: options.Not = None,
    unlike: options.Unlike = None,
    like_weight: options.LikeWeight = 1.0,
    not_weight: options.NotWeight = 1.0,
    instruction: options.Instruction = None,
    exact: options.Exact = False,
    kind: options.Kinds = None,
    under: options.Under = None,
    glob: options.Glob = None,
    after: options.After = None,
    before: options.Before = None,
    camera: options.Camera = None,
    near: options.Near = None,
    min_size: options.MinSize = None,
    duration: options.Duration = None,
    orientation: options.OrientationOption = None,
    top: options.Top = 10,
    all_: options.All = False,
    min_relevance: options.MinRelevance = None,
    sort: options.SortOption = None,
    by_kind: options.ByKind = False,
    no_dedupe: options.NoDedupe = False,
    rerank: options.RerankOption = None,
    rerank_top: options.RerankTop = None,
    rerank_budget: options.RerankBudget = None,
    reranker: options.RerankerName = None,
    save_clips: options.SaveClips = None,
    padding: options.Padding = None,
    paths: options.PathsOnly = False,
    print0: options.Print0 = False,
    library: options.LibraryName = None,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Find photos, moments of videos and passages of texts.

    Only relevant hits are shown. If there is none, the exit code is 1, and a terminal shows the
    three nearest.

    \b
    qvsearch search "dog on a beach at sunset"
    qvsearch search photo.jpg --kind video
    qvsearch search "the same sofa, but green" --image sofa.jpg
    qvsearch search beach --not people --like dunes.jpg --camera iphone
    qvsearch search snow --under ~/Photos --after 2023-01-01 --before 2024-01-01
    qvsearch search mountains --near 46.56,7.69,20 --orientation landscape
    qvsearch search --near 46.56,7.69,20 --after 2023-07
    qvsearch search --queries queries.txt --json
    qvsearch search goal --kind video --save-clips goals --padding 2
    qvsearch search cake --kind image -0 | xargs -0 cp -t /tmp/cakes
    qvsearch search --rerank "invoice from March" --json | jq -r .path
    qvsearch search -- "-40 degrees"
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.cli.queries import ask_all
    from qvsearch.cli.results import Way, show_hits
    from qvsearch.library.filters import parse_filters
    from qvsearch.library.library import library_folder
    from qvsearch.retrieval.options import parse_rerank
    from qvsearch.retrieval.pipeline import AT_ONCE, SearchOptions, answer, answers
    from qvsearch.retrieval.query import parse_query
    from qvsearch.runtime.loading import Choice, find_reranker, open_library, query_embedder

    if json + paths + print0 > 1:
        raise QvsearchError("--json, --paths and --print0 are three ways to print; give one")
    judge = parse_rerank(rerank, rerank_top, rerank_budget, reranker)
    filters = parse_filters(
        kinds=kind or (),
        under=under or (),
        globs=glob or (),
        after=after,
        before=before,
        camera=camera,
        near=near,
        min_size=min_size,
        duration=duration,
        orientation=orientation,
    )

    def parse(text: str | None) -> "Query":
        return parse_query(
            text,
            image,
            instruction,
            without=not_ or (),
            like=like or (),
            unlike=unlike or (),
            like_weight=like_weight,
            not_weight=not_weight,
        )

    way = Way(json, paths, print0, quiet, _clip_saver(save_clips, padding))
    which = SearchOptions(
        top,
        filters,
        _cut(all_, min_relevance),
        by_kind,
        not no_dedupe,
        judge,
        exact,
        min(NEAREST, top) if way.is_table and sys.stdout.isatty() and not quiet else 0,
        sort,
    )
    if query == options.STDIN.decode() and queries is None:
        query, queries = None, options.STDIN
    if queries is not None and query is not None:
        raise QvsearchError("--queries FILE has the queries; leave out the other one")
    is_asked = query is not None or queries or image or like or not_ or unlike
    browsing = which.lists and not is_asked
    if browsing and (judge or min_relevance is not None):
        raise QvsearchError("nothing is relevant without a query; give one")
    if browsing and save_clips is not None:
        raise QvsearchError("--save-clips cuts out the moments that a query finds; give one")
    asked = None if queries or browsing else parse(query)
    choice = Choice(model, None, None, device, dtype, hub)
    opened = open_library(library_folder(library), choice)
    output.hint_demo(opened.fingerprint, quiet)
    ways = (
        which,
        lambda: query_embedder(
            opened.fingerprint, choice, lambda seconds: _hint_warm(seconds, quiet)
        ),
        find_reranker(reranker, opened.fingerprint, choice) if judge else None,
        lambda skipped: output.hint(
            f"not reranked: {output.safe_text(skipped.path)}: {skipped.reason}", quiet
        ),
    )
    _hint_incomplete(opened, quiet)
    if queries is not None:
        source = None if queries == options.STDIN else queries
        code = ask_all(
            source,
            parse,
            lambda each: answers(opened, each, *ways, at_once=1 if source is None else AT_ONCE),
            lambda found, number, text: show_hits(found, opened, which, way, (number, text)),
        )
    else:
        code = show_hits(answer(opened, asked, *ways), opened, which, way)
    if code:
        raise typer.Exit(code)


def _cut(all_: bool, min_relevance: float | None) -> float | None:
    if all_ and min_relevance is not None:
        raise QvsearchError("--all is --min-relevance 0; give one of them")
    return 0.0 if all_ else min_relevance


def _hint_warm(seconds: float, quiet: bool) -> None:
    """Point out `qvsearch warm`, once, after a slow loading of the model."""
    from qvsearch.cache import first_time

    if seconds > SLOW and output.is_watched(quiet) and first_time("warm-hint"):
        output.hint(
            f"loading the model took {seconds:.0f} s; `qvsearch warm` keeps it loaded", quiet
        )


def _hint_incomplete(library: "Library", quiet: bool) -> None:
    left = sum(run.files for run in library.load_pending())
    if left and library.segments:  # an empty one is an error of its own
        files = output.counted(left, "file")
        output.hint(
            f"the library is incomplete: {files} not indexed yet;"
            f" see: qvsearch status{option(library.folder)}",
            quiet,
        )


def _clip_saver(
    folder: bytes | None, padding: float | None
) -> "Callable[[Sequence[Hit]], list[Clip | None]] | None":
    if folder is not None:
        place = Path(os.fsdecode(folder))
        if place.exists() and not place.is_dir():
            raise QvsearchError(f"{place} is no folder; --save-clips takes one, or a new name")
        return partial(_save_clips, place, padding or 0.0)
    if padding is not None:
        raise QvsearchError("--padding is for clips; give --save-clips FOLDER as well")
    return None


def _save_clips(folder: Path, padding: float, hits: Sequence["Hit"]) -> list["Clip | None"]:
    """Cut each video's moment out; one that fails is said, and costs its own clip only."""
    from qvsearch.media.clips import ClipFolder

    saved: list[Clip | None] = []
    with ClipFolder(folder) as clips:
        for hit in hits:
            saved.append(None)
            if hit.start is None or hit.end is None:
                continue
            start, end = max(0.0, hit.start - padding), hit.end + padding
            if (length := hit.segment.metadata.duration) is not None:
                end = max(hit.end, min(end, length))
            try:
                clip = saved[-1] = clips.save(hit.segment.item.location, start, end)
            except QvsearchError as error:
                output.fail(str(error))
                continue
            if clip.lost:
                output.fail(f"{clip.path} lacks the sound: {clip.lost}")
    return saved


@searching.command(cls=SearchCommand)
def explain(
    query: QueryText,
    file: Annotated[bytes, typer.Argument(parser=options.path, metavar="FILE", help="Any file.")],
    image: options.Image = None,
    like: options.Like = None,
    not_: options.Not = None,
    unlike: options.Unlike = None,
    like_weight: options.LikeWeight = 1.0,
    not_weight: options.NotWeight = 1.0,
    instruction: options.Instruction = None,
    kind: options.Kinds = None,
    under: options.Under = None,
    glob: options.Glob = None,
    after: options.After = None,
    before: options.Before = None,
    camera: options.Camera = None,
    near: options.Near = None,
    min_size: options.MinSize = None,
    duration: options.Duration = None,
    orientation: options.OrientationOption = None,
    top: options.Top = 10,
    all_: options.All = False,
    min_relevance: options.MinRelevance = None,
    no_dedupe: options.NoDedupe = False,
    library: options.LibraryName = None,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    json: options.Json = False,
) -> None:
    """Say why a file is or is not an answer to a query.

    \b
    qvsearch explain "dog on a beach" IMG_2041.jpg
    qvsearch explain "dog on a beach" IMG_2041.jpg --after 2020-01-01 --json
    """  # noqa: D301
    from qvsearch.cli.records import explanation_record
    from qvsearch.library.filters import parse_filters
    from qvsearch.library.library import library_folder
    from qvsearch.retrieval.explain import explained
    from qvsearch.retrieval.pipeline import SearchOptions
    from qvsearch.retrieval.query import parse_query
    from qvsearch.runtime.loading import Choice, open_library, query_embedder

    asked = parse_query(
        query,
        image,
        instruction,
        without=not_ or (),
        like=like or (),
        unlike=unlike or (),
        like_weight=like_weight,
        not_weight=not_weight,
    )
    which = SearchOptions(
        top,
        parse_filters(
            kinds=kind or (),
            under=under or (),
            globs=glob or (),
            after=after,
            before=before,
            camera=camera,
            near=near,
            min_size=min_size,
            duration=duration,
            orientation=orientation,
        ),
        _cut(all_, min_relevance),
        dedupe=not no_dedupe,
    )
    choice = Choice(model, None, None, device, dtype, hub)
    opened = open_library(library_folder(library), choice)
    found = explained(
        opened, asked, file, which, lambda: query_embedder(opened.fingerprint, choice)
    )
    if json:
        output.write_json([explanation_record(found)])
    else:
        from qvsearch.cli.tables import print_explanation

        print_explanation(found)
    if found.reason is not None:
        raise typer.Exit(NOTHING_FOUND)
