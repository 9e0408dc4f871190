"""The options of the command similarity."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qvsearch.choices import Metric
from qvsearch.cli import options
from qvsearch.cli.vector_options import InputsFrom
from qvsearch.errors import QvsearchError

_score = partial(typer.Option, rich_help_panel="Score")

PAIR = 2


@dataclass(frozen=True, slots=True)
class SideOptions:
    """The inputs that are compared, apart from the arguments."""

    with_: Annotated[
        list[str] | None,
        options.input_option(
            "--with",
            metavar="INPUT",
            help="Input to compare with; may be repeated (default: the others).",
        ),
    ] = None
    from_: InputsFrom = None
    with_from: Annotated[
        bytes | None,
        options.input_option(
            parser=options.source,
            metavar="FILE",
            help="File of inputs to compare with.",
        ),
    ] = None
    pairs: Annotated[
        bytes | None,
        options.input_option(
            parser=options.path,
            metavar="FILE",
            help="File of pairs (.tsv, .csv, .jsonl), printed with a column similarity.",
        ),
    ] = None
    columns: Annotated[
        str | None,
        options.input_option(
            metavar="A,B",
            help="Columns of --pairs: names, or numbers (default: sentence1,sentence2;"
            " without them 1,2).",
        ),
    ] = None
    query: Annotated[
        bool,
        options.input_option(
            "--query",
            help="Embed the first side as queries: search's instruction.",
        ),
    ] = False
    instruction: Annotated[
        str | None,
        options.input_option(
            metavar="TEXT",
            help="Instruction to the model for both sides; with --query for the first.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.columns is not None and self.pairs is None:
            raise QvsearchError("--columns is for a file of pairs; give --pairs FILE as well")
        if self.query and not (self.has_second or self.pairs is not None):
            raise QvsearchError("--query needs a second side; give it with --with or --with-from")

    @property
    def has_second(self) -> bool:
        """Whether there is a second side."""
        return bool(self.with_) or self.with_from is not None

    def names(self) -> tuple[str, str] | None:
        """Return the columns of --pairs, if they are given."""
        if self.columns is None:
            return None
        names = [each.strip() for each in self.columns.split(",")]
        if len(names) != len(list(filter(None, names))) or len(names) != PAIR:
            raise QvsearchError(
                f"--columns {self.columns!r} is not two names; give e.g. --columns left,right"
            )
        return names[0], names[1]


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How a pair is scored."""

    metric: Annotated[
        Metric,
        options.choice(
            "--metric",
            Metric,
            "Similarity; vectors have length 1, so dot is cosine (default: cosine).",
            "Score",
        ),
    ] = Metric.COSINE
    rerank: Annotated[
        bool,
        _score("--rerank", help="Score by a reranker: the probability that B answers A."),
    ] = False
    reranker: Annotated[
        str | None,
        _score(metavar="ID-OR-FOLDER", help="Reranker (default: Qwen/Qwen3-VL-Reranker-2B)."),
    ] = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.rerank and self.metric is not Metric.COSINE:
            raise QvsearchError("--metric compares vectors, and --rerank reads both; give one")
        if self.reranker is not None and not self.rerank:
            raise QvsearchError("--reranker is for --rerank; give it as well")


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """How the scores are printed or written."""

    csv: Annotated[
        bytes | None,
        options.output_option(
            parser=options.source,
            metavar="FILE",
            help="CSV file of the matrix; - is standard output.",
        ),
    ] = None
    output_: Annotated[
        bytes | None,
        options.output_option(
            "--output",
            "-o",
            parser=options.path,
            metavar="FILE",
            help="File ending in .npz for the matrix; with --pairs the file of the pairs.",
        ),
    ] = None
    quiet: options.Quiet = False
    json: options.Json = False

    @property
    def target(self) -> Path | None:
        """The file of --output."""
        return None if self.output_ is None else Path(os.fsdecode(self.output_))

    @property
    def is_table(self) -> bool:
        """Whether a person reads the matrix."""
        return not self.json and self.csv is None and self.output_ is None

    def check_matrix(self) -> None:
        """Raise QvsearchError if the matrix cannot be written to its files."""
        from qvsearch.tasks.vector_files import check_output

        if self.csv == options.STDIN and self.json:
            raise QvsearchError("--csv - and --json both print; give one, or name a file for --csv")
        if self.target is not None and self.target.suffix != ".npz":
            raise QvsearchError(f"{self.target} does not end in .npz; --csv FILE writes CSV")
        table = None if self.csv in (None, options.STDIN) else Path(os.fsdecode(self.csv))
        for path in filter(None, (self.target, table)):
            check_output(path)
