"""The commands search and explain."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Sort
from qvsearch.cli import options, output
from qvsearch.cli.commands import SearchCommand, unfolded
from qvsearch.cli.options import PrintOptions, RunOptions
from qvsearch.cli.search_options import FilterOptions, QueryOptions, RankingOptions, RerankOptions
from qvsearch.cli.several import LibrariesOptions, OpenLibraries
from qvsearch.errors import ExitCode, QvsearchError

if TYPE_CHECKING:
    from qvsearch.media.clips import Clip
    from qvsearch.retrieval.pipeline import SearchOptions
    from qvsearch.types import Hit

NEAREST = 3  # hits that a terminal shows if none is relevant
SLOW = 3.0  # seconds of loading that are worth a hint

searching = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """Where the moments of videos are saved."""

    save_clips: Annotated[
        bytes | None,
        typer.Option(
            parser=options.path,
            metavar="FOLDER",
            help="Folder for the moments of videos, cut out as files.",
            rich_help_panel="Output",
        ),
    ] = None
    padding: Annotated[
        float | None,
        typer.Option(
            parser=options.number("--padding", float, 0, options.DAY),
            metavar="SECONDS",
            help="Time added before and after each clip (default: 0).",
            rich_help_panel="Output",
        ),
    ] = None

    def saver(self) -> "Callable[[Sequence[Hit]], list[Clip | None]] | None":
        """Return the function that saves clips; raises QvsearchError if there can be no folder."""
        if self.save_clips is not None:
            place = Path(os.fsdecode(self.save_clips))
            if place.exists() and not place.is_dir():
                raise QvsearchError(
                    f"{place} is not a folder; give --save-clips a folder, or a new name"
                )
            return partial(_save_clips, place, self.padding or 0.0)
        if self.padding is not None:
            raise QvsearchError("--padding is for clips; give --save-clips FOLDER as well")
        return None


@searching.command(cls=SearchCommand)
@unfolded
def search(
    *,
    query: options.QueriesText = None,
    queries: Annotated[
        bytes | None,
        typer.Option(
            parser=options.source,
            metavar="FILE",
            help="File of queries, one a line; - is standard input.",
            rich_help_panel="Query",
        ),
    ] = None,
    parts: QueryOptions,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Score every row, even in a large library.", rich_help_panel="Query"
        ),
    ] = False,
    filters: FilterOptions,
    ranking: RankingOptions,
    sort: Annotated[
        Sort | None,
        options.choice(
            "--sort",
            Sort,
            "Order of the hits (default: relevance; without a query date, newest first).",
            "Output",
        ),
    ] = None,
    by_kind: Annotated[
        bool,
        typer.Option(
            "--by-kind",
            help="Print a list for each kind, of N hits each.",
            rich_help_panel="Output",
        ),
    ] = False,
    clips: ClipOptions,
    printing: PrintOptions,
    reranking: RerankOptions,
    libraries: LibrariesOptions,
    model: RunOptions,
) -> None:
    """Find photos, moments of videos and passages of texts.

    Only relevant hits are shown. If there is none, the exit code is 1, and a
    terminal shows the three nearest.

    \b
    qvsearch search "dog on a beach at sunset"
    qvsearch search photo.jpg --kind video
    qvsearch search "the same sofa, but green" --image sofa.jpg
    qvsearch search beach --not people --like dunes.jpg --camera iphone
    qvsearch search "the old sofa" -l photos -l work
    qvsearch search snow --under ~/Photos --after 2023-01-01 --before 2024-01-01
    qvsearch search mountains --near 46.56,7.69,20 --orientation landscape
    qvsearch search --near 46.56,7.69,20 --after 2023-07
    qvsearch search --queries queries.txt --json
    qvsearch search goal --kind video --save-clips goals --padding 2
    qvsearch search cake --kind image -0 | xargs -0 cp -t /tmp/cakes
    qvsearch search --rerank "invoice from March" --json | jq -r .path
    qvsearch search -- "-40 degrees"
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.cli.results import answer_all, show_hits
    from qvsearch.retrieval import several
    from qvsearch.retrieval.pipeline import AT_ONCE, SearchOptions
    from qvsearch.runtime.several import find_reranker_of

    if query == options.STDIN.decode() and queries is None:
        query, queries = None, options.STDIN
    if queries is not None and query is not None:
        raise QvsearchError("--queries FILE has the queries; leave out the other one")
    save = clips.saver()
    on_terminal = printing.is_table and sys.stdout.isatty() and not printing.quiet
    wanted = SearchOptions(
        ranking.top,
        filters.filters(),
        ranking.least,
        by_kind,
        not ranking.no_dedupe,
        reranking.parsed(),
        exact,
        min(NEAREST, ranking.top) if on_terminal else 0,
        sort,
    )
    listing = wanted.lists and query is None and queries is None and not parts.has_parts
    if listing:
        _check_listing(wanted, clips)
    single = None if queries is not None or listing else parts.query(query)
    choice = model.choice()
    opened = OpenLibraries(libraries.folders(), choice)
    opened.hint(printing.quiet)
    searched = opened.searched(
        choice, partial(_hint_warm, quiet=printing.quiet), keep=queries is not None
    )
    how = (
        wanted,
        find_reranker_of(reranking.reranker, opened.libraries, choice) if wanted.rerank else None,
        lambda skipped: output.hint(
            f"not reranked: {output.safe_text(skipped.path)}: {skipped.reason}", printing.quiet
        ),
        opened.leave_out,
    )
    show = partial(show_hits, opened, wanted, printing, save)
    if queries is None:
        code = show(several.answer_all(searched, single, *how))
    else:
        file = None if queries == options.STDIN else queries
        at_once = 1 if file is None else AT_ONCE
        code = answer_all(
            file,
            parts.query,
            lambda each: several.answers_all(searched, each, *how, at_once=at_once),
            show,
        )
    if code := opened.exit_code(code):
        raise typer.Exit(code)


@searching.command(cls=SearchCommand)
@unfolded
def explain(
    *,
    query: options.QueryText,
    file: Annotated[
        bytes, typer.Argument(parser=options.path, metavar="FILE", help="File to explain.")
    ],
    parts: QueryOptions,
    filters: FilterOptions,
    ranking: RankingOptions,
    libraries: LibrariesOptions,
    model: RunOptions,
    json: options.Json = False,
) -> None:
    """Show why a file is or is not a hit.

    \b
    qvsearch explain "dog on a beach" IMG_2041.jpg
    qvsearch explain "dog on a beach" IMG_2041.jpg --after 2020-01-01 --json
    """  # noqa: D301
    from qvsearch.retrieval.explain import explained_in
    from qvsearch.retrieval.pipeline import SearchOptions

    parsed = parts.query(query)
    wanted = SearchOptions(
        ranking.top, filters.filters(), ranking.least, dedupe=not ranking.no_dedupe
    )
    choice = model.choice()
    opened = OpenLibraries(libraries.folders(), choice)
    searched = opened.searched(choice)
    explanation = explained_in(searched, parsed, file, wanted, opened.leave_out)
    if json:
        from qvsearch.records.library import explanation_record

        output.write_json([explanation_record(explanation)])
    else:
        from qvsearch.cli.hit_tables import print_explanation

        print_explanation(explanation, opened.columns)
    is_hit = explanation.reason is None
    if code := opened.exit_code(ExitCode.DONE if is_hit else ExitCode.NOTHING_FOUND):
        raise typer.Exit(code)


def _check_listing(wanted: "SearchOptions", clips: ClipOptions) -> None:
    """Raise QvsearchError for options that need a query."""
    if wanted.rerank or wanted.min_relevance is not None:
        raise QvsearchError("nothing is relevant without a query; give one")
    if clips.save_clips is not None:
        raise QvsearchError("--save-clips cuts out the moments that a query finds; give one")


def _hint_warm(seconds: float, quiet: bool) -> None:
    """Point out `qvsearch warm`, once, after a slow loading of the model."""
    from qvsearch.cache import first_time

    if seconds > SLOW and output.is_watched(quiet) and first_time("warm-hint"):
        output.hint(
            f"loading the model took {seconds:.0f} s; `qvsearch warm` keeps it loaded", quiet
        )


def _save_clips(folder: Path, padding: float, hits: Sequence["Hit"]) -> list["Clip | None"]:
    """Cut out the moment of each video; a failure is reported and costs its own clip only."""
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
