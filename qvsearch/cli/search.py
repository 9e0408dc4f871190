"""The commands search and explain."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Sort
from qvsearch.cli import options, output
from qvsearch.cli.commands import SearchCommand, unfolded
from qvsearch.cli.options import PrintOptions
from qvsearch.cli.saving import SavingOptions, options_of
from qvsearch.cli.search_options import FilterOptions, QueryOptions, RankingOptions, RerankOptions
from qvsearch.cli.server_options import RerankedRunOptions, ServedRunOptions
from qvsearch.cli.several import LibrariesOptions, OpenLibraries
from qvsearch.cli.take_options import TakeOptions, Use, Used
from qvsearch.cli.update_option import UpdateOptions
from qvsearch.cli.viewing import ViewOptions, given
from qvsearch.errors import ExitCode, QvsearchError

if TYPE_CHECKING:
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
        options.output_option(
            parser=options.path,
            metavar="FOLDER",
            help="Folder for the moments of videos, cut out as files.",
        ),
    ] = None
    padding: Annotated[
        float | None,
        options.output_option(
            parser=options.number("--padding", float, 0, options.DAY),
            metavar="SECONDS",
            help="Time added before and after each moment (default: 0).",
        ),
    ] = None

    def uses(self, *, pads_others: bool) -> list[Use]:
        """Return the function that saves clips; raises QvsearchError if there can be no folder.

        `pads_others` is true if the padding is for other options, too.
        """
        if self.save_clips is not None:
            place = Path(os.fsdecode(self.save_clips))
            if place.exists() and not place.is_dir():
                raise QvsearchError(
                    f"{place} is not a folder; give --save-clips a folder, or a new name"
                )
            return [partial(_save_clips, place, self.padding or 0.0)]
        if self.padding is not None and not pads_others:
            raise QvsearchError(
                "--padding is for moments; give --save-clips, --playlist or --timeline as well"
            )
        return []


@searching.command(cls=SearchCommand)
@unfolded
def search(
    *,
    context: typer.Context,
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
    saving: SavingOptions,
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
        options.output_option("--by-kind", help="Print a list for each kind, of N hits each."),
    ] = False,
    clips: ClipOptions,
    taking: TakeOptions,
    viewing: ViewOptions,
    printing: PrintOptions,
    reranking: RerankOptions,
    libraries: LibrariesOptions,
    model: RerankedRunOptions,
    fresh: UpdateOptions,
) -> None:
    """Find photos, videos, documents and texts.

    Only relevant hits are shown. If there is none, the exit code is 1, and a
    terminal shows the three nearest.

    \b
    qvsearch search "dog on a beach at sunset"
    qvsearch search photo.jpg --kind video
    qvsearch search "the same sofa, but green" --image sofa.jpg
    qvsearch search '"INV-2024-0117" paid' --without draft
    qvsearch search IMG_4711 --words-only
    qvsearch search beach --not people --like dunes.jpg --camera iphone
    qvsearch search "the old sofa" -l photos -l work
    qvsearch search snow --under ~/Photos --after 2023-01-01 --before 2024-01-01
    qvsearch search mountains --near 46.56,7.69,20 --orientation landscape
    qvsearch search --near 46.56,7.69,20 --after 2023-07
    qvsearch search "the invoice I just saved" --update
    qvsearch search --queries queries.txt --json
    qvsearch search goal --kind video --save-clips goals --padding 2
    qvsearch search cake --kind image -k 50 --copy-to /tmp/cakes --ranked
    qvsearch search cake --kind image --save cakes
    qvsearch search @cakes --new-since
    qvsearch search sunset --show
    qvsearch search "blows out the candles" --kind video --open
    qvsearch search holiday -k 200 --html holiday.html
    qvsearch search --rerank "invoice from March" --json | jq -r .path
    qvsearch search -- "-40 degrees"
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.cli.hit_csv import HitCsv
    from qvsearch.cli.results import answer_all, show_hits
    from qvsearch.retrieval import several
    from qvsearch.retrieval.pipeline import AT_ONCE, SearchOptions
    from qvsearch.runtime.several import find_reranker_of

    if query == options.STDIN.decode() and queries is None:
        query, queries = None, options.STDIN
    if queries is not None and query is not None:
        raise QvsearchError("--queries FILE has the queries; leave out the other one")
    saving.check(context.obj, several=queries is not None)
    uses = [
        *clips.uses(pads_others=taking.has_moments),
        *taking.uses(
            clips.padding or 0.0, query, several=queries is not None, quiet=printing.quiet
        ),
    ]
    settings = [("query", query), *given(parts, filters, ranking, reranking), ("sort", sort)]
    view = viewing.view(printing, parts.title(query), settings, many=queries is not None)
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
    folders = libraries.folders()
    for folder in folders:
        fresh.apply(folder, choice, printing.quiet)
    opened = OpenLibraries(folders, choice)
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
    show = partial(show_hits, opened, wanted, printing, HitCsv(), uses, view)
    if queries is None:
        kept = options_of(
            single, parts, filters, ranking, reranking, sort=sort, by_kind=by_kind, exact=exact
        )
        found = saving.answer(
            opened.libraries,
            context.obj,
            kept,
            wanted,
            lambda each: several.answer_all(searched, single, each, *how[1:]),
        )
        nothing_new = saving.new_since and not found.hits
        code = saving.nothing_new(printing.quiet) if nothing_new else show(found.hits)
        saving.finish(opened.libraries, context.obj, found, kept, quiet=printing.quiet)
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
    model: ServedRunOptions,
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
        from qvsearch.records.explanation import explanation_record

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


def _save_clips(folder: Path, padding: float, hits: Sequence["Hit"]) -> Used:
    """Cut out the moment of each video; a failure is reported and costs its own clip only."""
    from qvsearch.formats import path_fields
    from qvsearch.media.clips import ClipFolder
    from qvsearch.tasks.taking.spans import padded

    fields: list[dict[str, object]] = []
    lines, is_whole = [], True
    with ClipFolder(folder) as clips:
        for hit in hits:
            fields.append({})
            if hit.start is None or hit.end is None:
                continue
            try:
                length = hit.segment.metadata.duration
                span = padded(hit.start, hit.end, length, padding)
                clip = clips.save(hit.segment.item.location, *span)
            except QvsearchError as error:
                output.fail(str(error))
                is_whole = False
                continue
            fields[-1].update(path_fields("saved", os.fsencode(clip.path)))
            lines.append(f"{'saved' if clip.is_new else 'saved before'}: {clip.path}")
            if clip.lost:
                output.fail(f"{clip.path} lacks the sound: {clip.lost}")
                is_whole = False
    return Used(fields, lines, is_whole)
