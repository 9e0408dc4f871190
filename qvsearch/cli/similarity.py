"""The command similarity."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import GroupedCommand, unfolded
from qvsearch.cli.similarity_options import MatrixOptions, ScoreOptions, SideOptions
from qvsearch.cli.vector_options import (
    Reporter,
    RerankedEmbedModelOptions,
    opened,
    split_source,
    write_lines,
)
from qvsearch.errors import ExitCode, QvsearchError

if TYPE_CHECKING:
    from qvsearch.tasks.inputs import TaskInput
    from qvsearch.tasks.similarity import Similarity
    from qvsearch.types import Skipped

MOST_COLUMNS = 100  # of a table

comparing = typer.Typer(rich_markup_mode=None)


@comparing.command(cls=GroupedCommand)
@unfolded
def similarity(
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT", help="Words in quotes, paths of files, or - for standard input."
        ),
    ] = None,
    sides: SideOptions,
    scoring: ScoreOptions,
    printing: MatrixOptions,
    model: RerankedEmbedModelOptions,
) -> None:
    """Compare words and files with each other.

    Without --with and --with-from, every input is compared with all.

    \b
    qvsearch similarity "a cat" "a kitten" "a car"
    qvsearch similarity *.jpg --with "a cat" --with "a dog"
    qvsearch similarity --from queries.txt --with-from texts.txt --query --csv -
    qvsearch similarity "invoice from March" --with scan.png --rerank
    qvsearch similarity --pairs sentences.tsv --output scored.tsv
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli.interrupt import cancelling

    report = Reporter(printing.quiet)
    with cancelling():
        if sides.pairs is not None:
            _check_pairs_alone(inputs or [], sides, printing)
            from qvsearch.cli.pairs import score_file

            score_file(sides, scoring, printing, model, report)
        else:
            _compare(inputs or [], sides, scoring, printing, model, report)
    if report.failed:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _check_pairs_alone(words: list[str], sides: SideOptions, printing: MatrixOptions) -> None:
    """Raise QvsearchError for options that a file of pairs does not take."""
    if words or sides.from_ is not None or sides.has_second:
        raise QvsearchError("--pairs FILE has both sides; leave out the other inputs")
    if printing.csv is not None or printing.json:
        raise QvsearchError(
            "--pairs prints the file again in its own form; leave out --csv, --json"
        )


def _compare(
    words: list[str],
    sides: SideOptions,
    scoring: ScoreOptions,
    printing: MatrixOptions,
    model: RerankedEmbedModelOptions,
    report: Reporter,
) -> None:
    """Print or write the matrix of all inputs."""
    from qvsearch.tasks.similarity import instructions

    words, source = split_source("similarity", words, sides.from_)
    if source == sides.with_from == options.STDIN:
        raise QvsearchError("standard input can be one side only; name a file for the other")
    printing.check_matrix()
    # a reranker's first side is always the query, for which it has an instruction of its own
    first, second = instructions(sides.query and not scoring.rerank, sides.instruction)
    read = [_side(words, source, first)]
    if sides.has_second:
        read.append(_side(sides.with_ or [], sides.with_from, second))
    if printing.is_table and len(read[-1]) > MOST_COLUMNS:
        raise QvsearchError(
            f"a table of {len(read[-1]):,} columns cannot be read;"
            " give --csv FILE, --json, or --output FILE.npz"
        )
    result = _matrix(read, scoring, model, report)
    for place, skipped in result.rows.skipped:
        report.fail(f"input {place}", skipped)
    for place, skipped in result.columns.skipped if sides.has_second else ():
        report.fail(f"--with {place}", skipped)
    report.clear()
    _show(result, scoring, printing, itself=not sides.has_second)


def _show(
    result: "Similarity", scoring: ScoreOptions, printing: MatrixOptions, *, itself: bool
) -> None:
    """Write the matrix in each wanted form; without any print a table."""
    from qvsearch.cli.similarity_table import csv_of, print_similarity
    from qvsearch.files import write_file
    from qvsearch.records.similarity import similarity_records
    from qvsearch.tasks.similarity import write_similarity

    written: list[Path] = []
    if printing.target is not None:
        write_similarity(printing.target, result)
        written.append(printing.target)
    if printing.csv == options.STDIN:
        write_lines(csv_of(result))
    elif printing.csv is not None:
        written.append(Path(os.fsdecode(printing.csv)))
        write_file(written[-1], csv_of(result))
    if not (printing.quiet or printing.json or printing.csv == options.STDIN):
        for path in written:
            rows, columns = result.values.shape
            output.line(f"{rows:,} x {columns:,} numbers written to {path}")
    if printing.json:
        output.write_json(similarity_records(result))
    elif printing.is_table and result.values.size:
        print_similarity(result, scoring.metric, itself=itself)


def _side(
    words: list[str], source: bytes | None, instruction: str | None
) -> "list[TaskInput | Skipped]":
    """Return the inputs of one side: the given ones, then those of the file."""
    from qvsearch.tasks.sources import read_arguments, read_stream

    inputs = list(read_arguments(words, instruction))
    if source is not None:
        with opened(source) as (stream, name):
            inputs += read_stream(stream, name, instruction)
    return inputs


def _matrix(
    read: "list[list[TaskInput | Skipped]]",
    scoring: ScoreOptions,
    model: RerankedEmbedModelOptions,
    report: Reporter,
) -> "Similarity":
    from qvsearch.runtime.loading import find_reranker, load_embedder
    from qvsearch.tasks.similarity import check_size, compare, compare_by_reranker

    check_size(read)
    fingerprint, choice = model.fingerprint(report.quiet), model.choice()
    if scoring.rerank:
        load = find_reranker(scoring.reranker, fingerprint, choice)
        progress = partial(report.progress, what="pair")
        return compare_by_reranker(read, load, fingerprint.decode_options, progress)
    embedder = partial(load_embedder, fingerprint, choice)
    return compare(read, embedder, fingerprint.decode_options, scoring.metric, report.progress)
