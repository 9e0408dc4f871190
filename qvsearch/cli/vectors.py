"""The commands embed and export."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import GroupedCommand, unfolded
from qvsearch.cli.search_options import FilterOptions
from qvsearch.cli.vector_options import (
    EmbedModelOptions,
    InputsFrom,
    Reporter,
    opened,
    split_source,
)
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.types import Stored

if TYPE_CHECKING:
    from qvsearch.indexing.batching import Pause
    from qvsearch.tasks.inputs import TaskInput
    from qvsearch.tasks.vector_files import VectorRow
    from qvsearch.types import Skipped

vectors = typer.Typer(rich_markup_mode=None)


class NoVectors(QvsearchError):
    """No input has a vector; an older file of vectors stays as it was."""

    exit_code = ExitCode.INCOMPLETE


@vectors.command(cls=GroupedCommand)
@unfolded
def embed(
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Words in quotes, paths of files, or - for standard input.",
        ),
    ] = None,
    from_: InputsFrom = None,
    null: Annotated[
        bool,
        options.input_option(
            "--null",
            "-0",
            help="Read --from and - as paths that end in NUL, as of find -print0.",
        ),
    ] = False,
    query: Annotated[
        bool,
        options.input_option("--query", help="Embed queries, not documents: search's instruction."),
    ] = False,
    instruction: Annotated[
        str | None,
        options.input_option(
            metavar="TEXT",
            help="Instruction to the model (default: represent the input).",
        ),
    ] = None,
    output_: Annotated[
        bytes | None,
        options.output_option(
            "--output",
            "-o",
            parser=options.path,
            metavar="FILE",
            help="File to write or replace: .npy, .npz, .jsonl or .parquet (default: JSON lines).",
        ),
    ] = None,
    store: Annotated[
        Stored | None,
        options.choice(
            "--store",
            Stored,
            "int8 writes codes and a scale for each vector (default: float32).",
            "Output",
            "int8",
        ),
    ] = None,
    model: EmbedModelOptions,
    quiet: options.Quiet = False,
) -> None:
    """Write the vectors of words, files and JSON lines.

    They keep their order. A line of JSON has text, image, video or several,
    and an instruction, as of the published class.

    \b
    qvsearch embed "a red car" photo.jpg clip.mp4
    qvsearch embed *.jpg --output photos.npy
    qvsearch embed --from lines.jsonl --dim 256 -o lines.parquet
    find . -name '*.png' -print0 | qvsearch embed -0 - -o pictures.npz
    echo '{"image": "a.jpg", "text": "at night"}' | qvsearch embed -
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.cli.interrupt import cancelling
    from qvsearch.models.prompt import QUERY_INSTRUCTION
    from qvsearch.runtime.loading import load_embedder
    from qvsearch.tasks.embedding import embed_rows
    from qvsearch.tasks.vector_files import check_vector_file, vector_record, write_vectors

    words, source = split_source("embed", inputs or [], from_)
    if source is None and null:
        raise QvsearchError("--null is for a list of paths; give - or --from FILE as well")
    target = None if output_ is None else Path(os.fsdecode(output_))
    if target is not None:
        check_vector_file(target, store)
        if source is not None and target == Path(os.fsdecode(source)):
            raise QvsearchError(f"{target} is the file of the inputs; name another --output")
    instruction = instruction or (QUERY_INSTRUCTION if query else None)
    fingerprint, choice = model.fingerprint(quiet), model.choice()
    report = Reporter(quiet)
    with ExitStack() as stack:
        stack.enter_context(cancelling())
        sources = _inputs(stack, words, source, instruction, null, live=target is None)
        outcomes = embed_rows(
            sources, partial(load_embedder, fingerprint, choice), fingerprint.decode_options
        )
        # beside lines on a terminal, also those of the next command, progress would be in the way
        is_saved = target is not None or stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
        rows = _rows(outcomes, report, watched=is_saved)
        if target is None:
            for row in rows:
                if not output.write(output.json_line(vector_record(row, store))):
                    break
            report.clear()
        else:
            count = write_vectors(target, rows, fingerprint.dim, store)
            report.clear()
            if not quiet:
                size = f"{output.counted(count, 'vector')} of {fingerprint.dim:,} numbers"
                output.line(f"{size} written to {target}")
            if report.failed and target.suffix == ".npy":
                output.note("rows of an .npy file have no names; .npz has the input of each")
    if report.failed:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _inputs(
    stack: ExitStack,
    words: list[str],
    source: bytes | None,
    instruction: str | None,
    null: bool,
    *,
    live: bool,
) -> "Iterator[TaskInput | Skipped | Pause]":
    """Return the inputs of the command line, then those of the file; `live` with pauses."""
    from qvsearch.tasks.sources import read_arguments, read_live, read_stream

    given = read_arguments(words, instruction)
    if source is None:
        return given
    stream, name = stack.enter_context(opened(source))
    read = read_live if live else read_stream
    return chain(given, read(stream, name, instruction, paths=null))


def _rows(
    outcomes: "Iterable[VectorRow | Skipped]", report: Reporter, watched: bool
) -> "Iterator[VectorRow]":
    """Yield the rows of the inputs that have a vector; report the others."""
    from qvsearch.types import Skipped

    place = -1
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Skipped):
            report.fail(f"input {place}", outcome)
        else:
            yield outcome
            if watched:
                report.progress(place + 1)
    if place < 0:
        raise QvsearchError("there is no input; give one a line")
    if report.failed == place + 1:
        raise NoVectors("no input has a vector, so nothing was written")


@vectors.command(cls=GroupedCommand)
@unfolded
def export(
    *,
    folder: Annotated[
        bytes,
        typer.Argument(parser=options.path, metavar="FOLDER", help="New or empty folder."),
    ],
    parquet: Annotated[
        bool,
        options.output_option("--parquet", help="Write rows.parquet, rows and vectors."),
    ] = False,
    projector: Annotated[
        bool,
        options.output_option(
            "--projector",
            help="Write vectors.tsv and metadata.tsv for the Embedding Projector.",
        ),
    ] = False,
    filters: FilterOptions,
    library: options.LibraryName = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a library's vectors and rows for other programs.

    Without options these are vectors.npy, and rows.jsonl with a line for each
    vector.

    \b
    qvsearch export vectors
    qvsearch export photos --kind image --after 2023 --parquet
    qvsearch export /tmp/projector --projector -l holidays
    """  # noqa: D301
    from qvsearch.cli.interrupt import cancelling
    from qvsearch.published.opening import open_at
    from qvsearch.tasks import export as task

    opened_library = open_at(library)
    report = Reporter(quiet)
    place = Path(os.fsdecode(folder))
    with cancelling():
        count = task.export(
            opened_library,
            place,
            filters.filters(),
            parquet=parquet,
            projector=projector,
            progress=lambda done, _: report.progress(done, "vector"),
        )
    report.clear()
    if not quiet:
        size = f"{output.counted(count, 'vector')} of {opened_library.fingerprint.dim:,} numbers"
        output.line(f"{size} written to {place}")
