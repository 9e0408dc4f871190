"""The command evaluate."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Hub, Task
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.server_options import RerankServerOptions
from qvsearch.cli.vector_options import chosen_folder
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.types import Detail, Dtype, Precision, Skipped, Stored

if TYPE_CHECKING:
    from qvsearch.records.evaluate import Measured
    from qvsearch.runtime.loading import Choice
    from qvsearch.tasks.evaluation.results import EvaluateOptions, Result
    from qvsearch.tasks.evaluation.sets import EvaluationSet
    from qvsearch.types import Fingerprint

DEFAULT, ALL = "default", "all"  # of --task
TASKS = (DEFAULT, *Task, ALL)

evaluating = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class SetOptions:
    """How the set is read."""

    media: Annotated[
        bytes | None,
        typer.Option(
            parser=options.path,
            metavar="FOLDER",
            help="Folder of the files that the set names (default: the set's own).",
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Part of the set, e.g. dev (default: test)."),
    ] = None
    reverse: Annotated[
        bool,
        typer.Option("--reverse", help="Let documents look for their queries."),
    ] = False


@dataclass(frozen=True, slots=True)
class ComparedOptions:
    """The settings that are compared, a row for each combination."""

    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N[,N]",
            help="Vector dimensions, e.g. 64,256,1024 (default: the model's maximum).",
        ),
    ] = None
    detail: Annotated[
        list[Detail] | None,
        options.choice(
            "--detail", Detail, "Image detail; may be repeated (default: medium; low on a CPU)."
        ),
    ] = None
    dtype: Annotated[
        list[Dtype] | None,
        options.choice(
            "--dtype", Dtype, "Compute precision; may be repeated (default: the device's)."
        ),
    ] = None
    store: Annotated[
        list[Stored] | None,
        options.choice(
            "--store", Stored, "Storage type of vectors; may be repeated (default: float16)."
        ),
    ] = None
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(TASKS),
            help="Published instruction; may be repeated; see: qvsearch models tasks.",
        ),
    ] = None
    instruction: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Instruction of queries; may be repeated."),
    ] = None

    def dims(self) -> tuple[int, ...]:
        """Return the dimensions of `--dim 64,256,1024`."""
        from qvsearch.models.registry import SMALLEST_DIM

        parse = options.number("--dim", int, SMALLEST_DIM)
        texts = [each.strip() for several in self.dim or () for each in several.split(",")]
        return tuple(dict.fromkeys(parse(each) for each in texts))

    def instructions(self) -> dict[str, str | None]:
        """Return the instructions by name, all published ones after the default, which is None."""
        from qvsearch.models.prompt import TASK_INSTRUCTIONS

        presets: dict[str, str | None] = {}
        for name in self.task or ([] if self.instruction else [DEFAULT]):
            if name == ALL:
                presets |= {
                    DEFAULT: None,
                    **{each.value: text for each, text in TASK_INSTRUCTIONS.items()},
                }
            elif name in list(Task):
                presets[name] = TASK_INSTRUCTIONS[Task(name)]
            elif name == DEFAULT:
                presets[name] = None
            else:
                raise QvsearchError(f"--task {name!r} is unknown; give {', '.join(TASKS)}")
        return presets | {each: each for each in self.instruction or ()}


@dataclass(frozen=True, slots=True)
class RerankingOptions:
    """Whether, and how, a reranker reorders the first documents."""

    rerank: Annotated[
        bool, typer.Option("--rerank", help="Add a row with the first documents reranked.")
    ] = False
    rerank_top: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--rerank-top", int, 1),
            metavar="N",
            help="Number of first documents to rerank (default: 20).",
        ),
    ] = None
    reranker: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Reranker (default: Qwen/Qwen3-VL-Reranker-2B)."),
    ] = None

    @property
    def wanted(self) -> bool:
        """Whether any of the options is given."""
        return self.rerank or self.rerank_top is not None or self.reranker is not None


@evaluating.command(cls=Command)
@unfolded
def evaluate(
    *,
    source: Annotated[
        bytes,
        typer.Argument(parser=options.path, metavar="SET", help="Folder or file of the set."),
    ],
    reading: SetOptions,
    compared: ComparedOptions,
    reranking: RerankingOptions,
    library: Annotated[
        str | None,
        typer.Option(
            "--library",
            "-l",
            envvar="QVSEARCH_LIBRARY",
            metavar="NAME-OR-FOLDER",
            help="Library whose model and detail are the defaults (default: main, if any).",
            autocompletion=options.library_names,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-FOLDER",
            help="Model: a hub's id, a folder, or demo (default: the library's).",
        ),
    ] = None,
    adapter: options.AdapterOption = None,
    device: options.Device = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    servers: RerankServerOptions,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure how well a model works on your own data.

    A set is queries with the documents that they should find, pairs of texts
    with a score, or files with labels. The form of its files is recognised.

    \b
    qvsearch evaluate scifact
    qvsearch evaluate queries.csv --media ~/Photos --dim 64,256,1024
    qvsearch evaluate scifact --store float16 --store int8
    qvsearch evaluate captions_val2017.json --media val2017 --task all
    qvsearch evaluate pages --detail low --detail high --rerank
    qvsearch evaluate sts-test.csv --json | jq .metrics.spearman
    qvsearch evaluate cifar10 --instruction "Classify the object in this image."
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli import interrupt
    from qvsearch.records.evaluate import result_record
    from qvsearch.runtime.loading import Choice, task_fingerprint
    from qvsearch.tasks.evaluation.read_sets import read_set

    media = None if reading.media is None else Path(os.fsdecode(reading.media))
    choice = servers.served(Choice(model=model, device=device, hub=hub, adapter=adapter))
    with interrupt.interrupts() as stop:
        how = _options(compared, reranking, stop, quiet or json)
        found = read_set(Path(os.fsdecode(source)), media, reading.split, reading.reverse)
        skipped = list(found.left_out)
        folder = chosen_folder(library, model is not None or adapter is not None)
        fingerprint = task_fingerprint(folder, choice)
        outcomes = _measured(found, fingerprint, choice, compared, reranking, how, quiet or json)
        results: list[Measured] = []
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
                continue
            results.append(outcome)
            if json:
                output.write_json([result_record(outcome, len(skipped))])
    output.progress("", quiet or json)
    if results and not json:
        from qvsearch.cli.evaluate_tables import print_results

        print_results(results)
    report_skipped(skipped, None if json else output.SHOWN_SKIPPED)
    if stop():
        raise typer.Exit(ExitCode.INTERRUPTED)
    if skipped:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _measured(
    found: "EvaluationSet",
    own: "Fingerprint",
    choice: "Choice",
    compared: ComparedOptions,
    reranking: RerankingOptions,
    how: "EvaluateOptions",
    quiet: bool,
) -> Iterator["Measured | Skipped"]:
    """Yield what `measure` yields for each detail and dtype, each with its embedder."""
    from dataclasses import replace

    from qvsearch.records.evaluate import Measured

    output.hint_demo(own, quiet)
    default: Dtype | None = Dtype.INT8 if own.precision == Precision.INT8 else None
    dim = max(how.dims, default=None)
    reported: set[bytes] = set()
    for detail in dict.fromkeys(compared.detail or [own.detail]):
        for dtype in dict.fromkeys(compared.dtype or (default,)):
            each = replace(
                choice,
                model=own.model,
                adapter=own.adapter,
                dim=dim,
                detail=detail,
                dtype=dtype,
            )
            for outcome in _of_one_embedder(found, each, reranking, how, quiet):
                if not isinstance(outcome, Skipped):
                    task = how.instructions[outcome.setting.task]
                    yield Measured(outcome, own.model, own.adapter, dtype, task)
                elif outcome.path not in reported:  # and not once for each setting
                    reported.add(outcome.path)
                    yield outcome
            if how.stop():
                return


def _of_one_embedder(
    found: "EvaluationSet",
    choice: "Choice",
    reranking: RerankingOptions,
    how: "EvaluateOptions",
    quiet: bool,
) -> Iterator["Result | Skipped"]:
    """Yield what `measure` yields; the model is released before another one is loaded."""
    from dataclasses import replace

    from qvsearch.runtime.loading import find_reranker, load_embedder, task_fingerprint
    from qvsearch.tasks.evaluation.evaluate import measure

    fingerprint = task_fingerprint(None, choice)
    if reranking.wanted:  # in the device's own dtype, as in a search
        reranker = find_reranker(reranking.reranker, fingerprint, replace(choice, dtype=None))
        how = replace(how, reranker=reranker)
    output.progress(f"loading {choice.model}", quiet)
    yield from measure(found, load_embedder(fingerprint, choice), how)


def _options(
    compared: ComparedOptions,
    reranking: RerankingOptions,
    stop: Callable[[], bool],
    quiet: bool,
) -> "EvaluateOptions":
    from qvsearch.tasks.evaluation.results import RERANK_TOP, EvaluateOptions

    return EvaluateOptions(
        compared.dims(),
        tuple(dict.fromkeys(compared.store or [Stored.FLOAT16])),
        compared.instructions(),
        rerank_top=reranking.rerank_top or RERANK_TOP,
        stop=stop,
        progress=lambda what: output.progress(what, quiet),
    )


def report_skipped(skipped: list[Skipped], shown: int | None) -> None:
    """Print the lines and files that could not be used, and the number of those not shown."""
    for each in skipped[:shown]:
        path = output.safe_text(each.path)
        output.fail(f"{path}: {each.reason.removeprefix(f'{path}: ')}")
    if shown is not None and len(skipped) > shown:
        output.fail(f"and {len(skipped) - shown:,} more; --json lists them all")
