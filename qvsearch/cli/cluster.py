"""The command cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import GroupedCommand, unfolded
from qvsearch.cli.search_options import FilterOptions
from qvsearch.cli.server_options import ServedModelOptions
from qvsearch.cli.viewing import HtmlFile, given, html_page
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.gallery.cards import cluster_sections, outlier_sections
from qvsearch.library.names import option
from qvsearch.records.cluster import cluster_record, outlier_record

if TYPE_CHECKING:
    from qvsearch.tasks.grouping.cluster import Cluster
    from qvsearch.tasks.grouping.outliers import Outlier
    from qvsearch.types import Segment

CENTRAL = 3  # most central files of a group in the table; --json has all
SHOWN_OUTLIERS = 20  # in the table
NAME_WIDTH = 28  # of a name in the table

clustering = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How files are grouped and named."""

    groups: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--groups", int, 1),
            metavar="N",
            help="Number of groups (default: by the density of the files).",
        ),
    ] = None
    min_files: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--min-files", int, 2),
            metavar="N",
            help="Least number of files in a group (default: by their number, 3 to 50).",
        ),
    ] = None
    labels: Annotated[
        bytes | None,
        typer.Option(
            parser=options.path, metavar="FILE", help="File of possible names, one a line."
        ),
    ] = None
    outliers: Annotated[
        bool, typer.Option("--outliers", help="List the files that belong nowhere instead.")
    ] = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.outliers and (self.groups or self.min_files or self.labels):
            raise QvsearchError(
                "--outliers makes no groups; leave out --groups, --min-files and --labels"
            )


@clustering.command(cls=GroupedCommand)
@unfolded
def cluster(
    *,
    query: Annotated[
        str | None,
        typer.Option(metavar="QUERY", help="Words or a file; only what answers it is grouped."),
    ] = None,
    grouping: GroupOptions,
    no_dedupe: Annotated[
        bool, typer.Option("--no-dedupe", help="Count near-duplicates as files of their own.")
    ] = False,
    filters: FilterOptions,
    html: HtmlFile = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
    model: ServedModelOptions,
) -> None:
    """Group the files of a library by what they show or say.

    Each group has a name, if something sets it apart, and its most central
    files. Nothing is moved or changed.

    \b
    qvsearch cluster
    qvsearch cluster --query beach --kind image
    qvsearch cluster --groups 12 --labels subjects.txt
    qvsearch cluster --outliers
    qvsearch cluster --html groups.html
    qvsearch cluster --json | jq -r 'select(.name == "a dog") | .items[].path'
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.library.library import library_folder
    from qvsearch.retrieval.query import parse_query
    from qvsearch.runtime.loading import open_library, query_embedder
    from qvsearch.tasks.grouping.cluster import ClusterOptions, find_clusters
    from qvsearch.tasks.grouping.outliers import find_outliers
    from qvsearch.tasks.labelling.labels import read_labels

    read = [] if grouping.labels is None else read_labels(grouping.labels)
    labels = {each.name: each.phrasings for each in read}
    wanted = ClusterOptions(
        filters.filters(), grouping.groups, grouping.min_files, labels, not no_dedupe
    )
    parsed = None if query is None else parse_query(query)
    settings = [("query", query), *given(grouping, filters), ("no dedupe", no_dedupe)]
    page = html_page(html, "Outliers" if grouping.outliers else "Groups", settings, quiet)
    choice = model.choice()
    library = open_library(library_folder(model.library), choice)
    output.hint_demo(library.fingerprint, quiet)
    how = (lambda: query_embedder(library.fingerprint, choice),)
    if grouping.outliers:
        found = find_outliers(library, parsed, wanted.filters, *how, dedupe=wanted.dedupe)
        if json:
            output.write_json(outlier_record(each, library.folder) for each in found)
        elif found:
            _print_outliers(found)
        else:
            output.hint("no file lies apart from the others", quiet)
        if page is not None and not page.finish([library], found, outlier_sections, not json):
            raise typer.Exit(ExitCode.INCOMPLETE)
        raise typer.Exit(ExitCode.DONE if found else ExitCode.NOTHING_FOUND)
    clusters = find_clusters(library, parsed, wanted, *how)
    if json:
        output.write_json(cluster_record(each, library.folder) for each in clusters)
    elif clusters:
        _print_clusters(clusters)
    is_well = page is None or page.finish([library], clusters, cluster_sections, not json)
    if not any(each.id >= 0 for each in clusters):
        _hint_none(sum(each.files for each in clusters), option(library.folder), quiet)
        raise typer.Exit(ExitCode.NOTHING_FOUND)
    if grouping.min_files is not None:
        _hint_small(clusters, grouping.min_files, quiet)
    if not is_well:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _hint_small(clusters: Sequence["Cluster"], min_files: int, quiet: bool) -> None:
    """Point out groups that are smaller than the user asked for."""
    small = sum(each.id >= 0 and len(each.items) < min_files for each in clusters)
    if small:
        output.hint(
            f"{output.counted(small, 'group')} with fewer than {min_files} files:"
            " those that lay far from the rest have left",
            quiet,
        )


def _hint_none(files: int, library: str, quiet: bool) -> None:
    """Point out why there is no group."""
    if files:
        output.hint(
            f"no group among {output.counted(files, 'file')}; for the smallest ones:"
            f" qvsearch cluster --min-files 2{library}",
            quiet,
        )
    else:
        output.hint("no file passes the filters and answers the query", quiet)


def _print_clusters(clusters: Sequence["Cluster"]) -> None:
    """Print each group: number, files, name and confidence, and its most central files."""
    from rich.text import Text

    from qvsearch.cli.layout import Column, Row, laid_out, link, new_console, print_parts, width_of

    def path_text(segment: "Segment") -> Text:
        place = f" {output.segment_text(segment)}" if segment.start is not None else ""
        return link(segment.item.location).append(place)

    console = new_console()
    columns = [
        Column("", right=True),
        Column("files", right=True),
        Column("name", "cyan"),
        Column("sure", right=True),
    ]
    rows = []
    for each in clusters:
        name = "" if each.name is None else output.safe_text(each.name.text)
        name = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 3]}..."
        shown = [path_text(item.segment) for item in each.items[:CENTRAL]]
        cells = (
            str(each.id) if each.id >= 0 else "",
            f"{each.files:,}",
            name if each.id >= 0 else "in no group",
            "" if each.name is None else f"{each.name.confidence:.2f}",
        )
        rows.append(Row(cells, shown[0], shown[1:]))
    print_parts(console, [laid_out(columns, rows, width_of(console))])


def _print_outliers(found: Sequence["Outlier"]) -> None:
    from qvsearch.cli.layout import print_paths

    print_paths(
        ["", "factor", "size"],
        [
            (
                (str(each.rank), f"{each.factor:.2f}", output.segment_text(each.segment)),
                each.segment.item.location,
            )
            for each in found[:SHOWN_OUTLIERS]
        ],
    )
    if len(found) > SHOWN_OUTLIERS:
        output.line(f"... and {len(found) - SHOWN_OUTLIERS:,} more; --json lists them all")
