"""The commands similar and dupes."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.options import PrintOptions
from qvsearch.cli.server_options import ServerOptions
from qvsearch.cli.several import LibrariesOptions, OpenLibraries
from qvsearch.cli.update_option import UpdateOptions
from qvsearch.cli.viewing import HtmlFile, ViewOptions, html_page
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.formats import utc_text
from qvsearch.gallery.cards import group_sections, similar_sections
from qvsearch.library.names import option
from qvsearch.records import library as records

if TYPE_CHECKING:
    from qvsearch.cli.terminal import Screen
    from qvsearch.duplicates.groups import Group, Member
    from qvsearch.retrieval.similar import Similar

MEANINGS = {
    "exact": "the same bytes",
    "copy": "the same picture, video or text: re-encoded, resized, slightly cropped or edited",
    "burst": "taken within seconds of the best and nearly alike, but another picture",
    "shot": "of the same shot: a raw file and its picture, or a still and its film",
    "gone": "no longer where it was indexed",
}

alikes = typer.Typer(rich_markup_mode=None)


@alikes.command(cls=Command)
@unfolded
def similar(
    *,
    file: Annotated[
        bytes,
        typer.Argument(
            parser=options.path,
            metavar="FILE",
            help="Image, video, document or text, indexed or not.",
        ),
    ],
    top: options.Top = 10,
    kind: options.Kinds = None,
    viewing: ViewOptions,
    libraries: LibrariesOptions,
    servers: ServerOptions,
    fresh: UpdateOptions,
    json: options.Json = False,
) -> None:
    """Find the files that are most like a given one.

    \b
    qvsearch similar photo.jpg
    qvsearch similar ~/Downloads/clip.mp4 --kind image -k 3
    qvsearch similar photo.jpg --all-libraries
    qvsearch similar photo.jpg --show
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.retrieval.several import Searched
    from qvsearch.retrieval.similar import similar_in
    from qvsearch.runtime.loading import Choice, load_embedder

    title = f"Like {os.fsdecode(os.path.basename(file))}"
    settings = [("file", file), ("top", top), ("kind", kind)]
    view = viewing.view(PrintOptions(json=json), title, settings)
    folders, choice = libraries.folders(), servers.served(Choice())
    for folder in folders:
        fresh.apply(folder, choice, quiet=False)
    opened = OpenLibraries(folders, choice)
    searched = [
        Searched(each, partial(load_embedder, each.fingerprint, choice))
        for each in opened.libraries
    ]
    kinds = frozenset(kind) if kind else None
    results = similar_in(searched, file, top, kinds, opened.leave_out)
    if json:
        output.write_json(records.similar_record(each, each.library) for each in results)
    elif results:
        _print_similar(results, opened.columns, view.screen)
    is_well = view.finish(
        opened.libraries,
        [(each.segment, each.segment.start) for each in results],
        partial(similar_sections, results),
        not json,
    )
    if not results:
        several = len(opened.libraries) > 1
        output.hint(f"the {'libraries have' if several else 'library has'} no other file like it")
    whole = ExitCode.DONE if is_well else ExitCode.INCOMPLETE
    if code := opened.exit_code(whole if results else ExitCode.NOTHING_FOUND):
        raise typer.Exit(code)


@alikes.command(cls=Command)
def dupes(
    kind: options.Kinds = None,
    html: HtmlFile = None,
    library: options.LibraryName = None,
    json: options.Json = False,
) -> None:
    """List files that repeat each other. Nothing is deleted.

    The best original of each group is first.

    \b
    qvsearch dupes
    qvsearch dupes --kind image --json | jq 'select(.reason == "exact")'
    qvsearch dupes --html dupes.html
    """  # noqa: D301
    from qvsearch.duplicates.groups import duplicate_groups
    from qvsearch.published.opening import open_at

    page = html_page(html, "Near-duplicates", [("kind", kind)])
    opened = open_at(library)
    if not len(opened):
        raise QvsearchError(
            f"the library {opened.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(opened.folder)}"
        )
    groups = duplicate_groups(opened, frozenset(kind) if kind else None)
    if json:
        output.write_json(
            records.group_record(number, each) for number, each in enumerate(groups, 1)
        )
    else:
        _print_groups(groups)
    if page is not None and not page.finish([opened], groups, group_sections, not json):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _print_similar(
    results: Sequence["Similar"], libraries: Mapping[Path | None, str], screen: "Screen | None"
) -> None:
    """Print files; `libraries` has the names of several libraries."""
    if screen is not None:
        from qvsearch.cli.hit_tables import print_similar_pictures

        print_similar_pictures(results, screen, libraries)
    else:
        from qvsearch.cli.layout import print_paths

        relevant = results[0].relevance is not None
        print_paths(
            [
                "",
                *["relevance"] * relevant,
                *["score", "size", ""],
                *["library"] * bool(libraries),
            ],
            [
                (
                    (
                        str(each.rank),
                        *([] if each.relevance is None else [f"{each.relevance:.2f}"]),
                        f"{each.score:.3f}",
                        output.segment_text(each.segment),
                        each.reason or "",
                        *([libraries[each.library]] if libraries else []),
                    ),
                    each.segment.item.location,
                )
                for each in results
            ],
        )
    _print_meanings({each.reason for each in results})


def _print_groups(groups: Sequence["Group"]) -> None:
    from qvsearch.cli.layout import print_paths

    if not groups:
        output.line("no file of the library repeats another")
        return
    rows = []
    for number, group in enumerate(groups, start=1):
        rows += [
            _row(number if place == 0 else None, each) for place, each in enumerate(group.items)
        ]
    print_paths(["", "why", "pixels", "MB", "date"], rows)
    members = [each for group in groups for each in group.items]
    output.line()
    _print_meanings(
        {*(each.reason for each in members), "gone" if any(e.gone for e in members) else None}
    )
    bytes_ = sum(group.reclaimable for group in groups)
    output.line(
        f"{bytes_ / 1e6:,.1f} MB are in {output.counted(len(members) - len(groups), 'file')}"
        " beside the best of each group; nothing was deleted"
    )


def _row(number: int | None, member: "Member") -> tuple[tuple[str, ...], bytes]:
    segment = member.segment
    why = member.reason or "best"
    taken = segment.metadata.taken
    cells = (
        "" if number is None else f"{number:,}",
        f"{why}, gone" if member.gone else why,
        "" if segment.width is None else f"{segment.width}x{segment.height}",
        f"{segment.item.size / 1e6:.1f}",
        (taken or utc_text(segment.item.mtime_ns) or "")[:10],
    )
    return cells, segment.item.location


def _print_meanings(words: set["str | None"]) -> None:
    """Print the meaning of each reason that the table uses."""
    for word, meaning in MEANINGS.items():
        if word in words:
            output.line(f"{word}: {meaning}")
