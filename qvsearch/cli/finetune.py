"""The commands finetune and models merge."""

import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Self

import typer

from qvsearch.choices import Hub
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.machine import models
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.records import reports
from qvsearch.types import Detail, Dtype

if TYPE_CHECKING:
    import rich.progress

    from qvsearch.tasks.finetuning.run import Result
    from qvsearch.tasks.finetuning.settings import Settings
    from qvsearch.tasks.finetuning.state import Point

finetuning = typer.Typer(rich_markup_mode=None)

Output = Annotated[
    Path,
    typer.Option("--output", "-o", parser=Path, metavar="FOLDER", help="New folder to write."),
]


def _number(
    name: str, read: type[int] | type[float], least: float, most: float, text: str
) -> typer.models.OptionInfo:
    """Return an option with limits."""
    found: typer.models.OptionInfo = typer.Option(
        name,
        parser=options.number(name, read, least, most),
        metavar="N" if read is int else "X",
        help=text,
        show_default=False,
    )
    return found


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How a model is trained."""

    epochs: Annotated[
        int, _number("--epochs", int, 1, 1000, "Times to use all pairs (default: 3).")
    ] = 3
    batch: Annotated[
        int,
        _number(
            "--batch", int, 2, 65536, "Pairs of a step; memory does not limit it (default: 64)."
        ),
    ] = 64
    learning_rate: Annotated[
        float, _number("--learning-rate", float, 1e-8, 1, "Largest rate of a step (default: 1e-4).")
    ] = 1e-4
    rank: Annotated[int, _number("--rank", int, 1, 1024, "Rank of LoRA (default: 32).")] = 32
    alpha: Annotated[int, _number("--alpha", int, 1, 4096, "Scale of LoRA (default: 32).")] = 32
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="Layer to train; may be repeated (default: q_proj, k_proj, v_proj, up_proj,"
            " down_proj and gate_proj).",
        ),
    ] = None
    vision: Annotated[bool, typer.Option("--vision", help="Train the vision tower, too.")] = False
    temperature: Annotated[
        float,
        _number(
            "--temperature", float, 0.001, 10, "Divisor of cosines in the loss (default: 0.05)."
        ),
    ] = 0.05
    negatives: Annotated[
        int,
        _number("--negatives", int, 1, 100, "Negatives of a query for a reranker (default: 4)."),
    ] = 4
    held_out: Annotated[
        float,
        _number(
            "--held-out",
            float,
            0.001,
            0.5,
            "Share of the documents to evaluate with (default: 0.1).",
        ),
    ] = 0.1
    evaluations: Annotated[
        int, _number("--evaluations", int, 1, 1000, "Evaluations during training (default: 5).")
    ] = 5
    seed: Annotated[
        int, _number("--seed", int, 0, 2**31, "Seed of all that is random (default: 0).")
    ] = 0
    instruction: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Instruction of the queries (default: that of search)."),
    ] = None

    def settings(self) -> "Settings":
        """Return the settings; raises QvsearchError for a layer that does not exist."""
        from qvsearch.models.prompt import QUERY_INSTRUCTION
        from qvsearch.tasks.finetuning.settings import TEXT_LAYERS, Settings, check_layers

        return Settings(
            rank=self.rank,
            alpha=self.alpha,
            layers=check_layers(tuple(self.layer)) if self.layer else TEXT_LAYERS,
            vision=self.vision,
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            temperature=self.temperature,
            negatives=self.negatives,
            held_out=self.held_out,
            evaluations=self.evaluations,
            seed=self.seed,
            instruction=self.instruction or QUERY_INSTRUCTION,
        )


@finetuning.command(cls=Command)
@unfolded
def finetune(
    data: Annotated[
        Path,
        typer.Argument(
            parser=Path, metavar="DATA", help="A .csv, .tsv, .jsonl or .json file, or a folder."
        ),
    ],
    folder: Output,
    *,
    training: TrainingOptions,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-FOLDER",
            help="Model to adapt (default: the library's with -l, QVSEARCH_MODEL, or"
            " Qwen/Qwen3-VL-Embedding-2B).",
        ),
    ] = None,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Reranker to adapt instead of a model."),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            "--library",
            "-l",
            metavar="NAME-OR-FOLDER",
            help="Library whose model and detail are the defaults.",
            autocompletion=options.library_names,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            parser=Path, metavar="FOLDER", help="Folder of COCO's pictures (default: the file's)."
        ),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            parser=Path, metavar="DATA", help="Pairs from elsewhere: shows what they lose."
        ),
    ] = None,
    detail: Annotated[
        Detail | None,
        options.choice(
            "--detail", Detail, "Image detail (default: the library's; medium, low on a CPU)."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished run in the output folder.")
    ] = False,
    device: options.Device = None,
    dtype: Annotated[
        Dtype | None,
        options.choice(
            "--dtype",
            Dtype,
            "Compute precision, float32 or bfloat16 (default: the device's).",
            metavar="float32|bfloat16",
        ),
    ] = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Adapt a model to your own words and pictures, from examples.

    DATA has queries and what answers them. The adapter in the new folder is used
    with --adapter.

    \b
    qvsearch finetune pairs.csv -o insects
    qvsearch finetune captions/ -o insects --epochs 5 --batch 128
    qvsearch finetune coco.json --images val2017 -o coco
    qvsearch finetune judged.jsonl -o better --reranker Qwen/Qwen3-VL-Reranker-2B
    qvsearch finetune pairs.csv -o insects --resume
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli import interrupt
    from qvsearch.tasks.finetuning.run import Request, finetune

    role, name, level = _model(model, reranker, library, detail, device)
    request = Request(
        data=data,
        output=folder,
        role=role,
        model=name,
        detail=level,
        settings=training.settings(),
        images=images,
        control=control,
        device=device,
        dtype=dtype,
        hub=hub,
        resume=resume,
    )
    with interrupt.interrupts() as stop, _Progress(quiet, json) as progress:
        result = finetune(request, progress.step, progress.point, stop)
    if json:
        output.write_json([reports.training_summary_record(result, folder)])
    else:
        _show(result, folder, quiet)
    if result.left:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.INCOMPLETE if result.skipped else ExitCode.DONE)


@models.command(cls=Command)
def merge(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="Folder that finetune wrote.")],
    folder: Output,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-FOLDER", help="Base of the adapter (default: the one that it names)."
        ),
    ] = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
) -> None:
    """Write an adapter and its base as one checkpoint.

    Other programs load it like any model, and qvsearch with --model.

    \b
    qvsearch models merge insects -o insects-2B
    """  # noqa: D301
    from qvsearch.models.adapters import is_adapter
    from qvsearch.models.merging import merge_checkpoint
    from qvsearch.models.registry import base_of, resolve

    if not is_adapter(adapter):
        raise QvsearchError(f"{adapter} is not an adapter; give the folder that finetune wrote")
    base = model or base_of(adapter)
    merge_checkpoint(resolve(base, hub, adapter), folder)
    output.line(str(folder))


def _model(
    model: str | None,
    reranker: str | None,
    library: str | None,
    detail: Detail | None,
    device: str | None,
) -> tuple[str, str, Detail]:
    """Return the role, the name and the detail of the model to adapt."""
    from qvsearch.library.library import Library, library_folder
    from qvsearch.models.registry import EMBEDDER, RERANKER
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.chosen import new_detail, new_model

    if model is not None and reranker is not None:
        raise QvsearchError("--model and --reranker are two models; give one, and run it twice")
    choice = Choice(model, detail=detail, device=device)
    if library is not None:
        fingerprint = Library.open(library_folder(library)).fingerprint
        if fingerprint.adapter is not None and model is None and reranker is None:
            raise QvsearchError(
                f"the library {library} has the adapter {fingerprint.adapter}; to train further,"
                " merge it (qvsearch models merge ADAPTER -o FOLDER) and give --model FOLDER"
            )
        choice = Choice(model or fingerprint.model, None, detail or fingerprint.detail, device)
    if reranker is not None:
        return RERANKER, reranker, new_detail(choice)
    return EMBEDDER, model or new_model(choice), new_detail(choice)


class _Progress:
    """Shows a run: a bar on a terminal, a line for each evaluation, or JSON."""

    def __init__(self, quiet: bool, json: bool) -> None:
        self._quiet, self._json = quiet, json
        self._bar: rich.progress.Progress | None = None
        if sys.stderr.isatty() and not (quiet or json):
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.SpinnerColumn(),
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=16),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("evaluating the base", total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, steps: int, loss: float) -> None:
        """Show the steps done and the loss of the last one."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=step, total=steps, description=f"training, loss {loss:.3f}"
            )

    def point(self, point: "Point") -> None:
        """Show an evaluation."""
        if self._json:
            output.write_json([reports.training_point_record(point)])
        elif not self._quiet:
            line = _point_text(point)
            if self._bar is None:
                output.note(line)
            else:
                self._bar.console.print(line, markup=False, highlight=False)
                self._bar.update(self._task, description="training")


def _point_text(point: "Point") -> str:
    loss = "" if point.loss is None else f"loss {point.loss:.3f}, "
    control = "" if point.control is None else f", control recall@1 {point.control.recall:.3f}"
    return (
        f"step {point.step}: {loss}recall@1 {point.score.recall:.3f},"
        f" MRR {point.score.mrr:.3f}{control}"
    )


def _show(result: "Result", folder: Path, quiet: bool) -> None:
    """Print the figures before and after, what was skipped, and the next step."""
    card = result.card
    if result.left:
        steps = output.counted(result.left, "step")
        output.line(f"interrupted, {steps} left; continue with the same command and --resume")
    elif not quiet:
        before, after = card.before, card.after
        output.line(
            f"trained {output.counted(card.data.train, 'pair')} in"
            f" {output.clock(round(card.seconds))};"
            f" evaluated {output.counted(card.data.held_out, 'other pair')}"
        )
        output.line(
            f"recall@1 {before.score.recall:.3f} before, {after.score.recall:.3f} after;"
            f" MRR {before.score.mrr:.3f} before, {after.score.mrr:.3f} after"
        )
        if before.control is not None and after.control is not None:
            output.line(
                f"control: recall@1 {before.control.recall:.3f} before,"
                f" {after.control.recall:.3f} after"
            )
        output.line(f"the adapter is in {folder}")
    if result.skipped:
        output.line("skipped:")
        output.print_skipped(result.skipped)
    if not result.left and not card.has_improved:
        output.note(
            "the adapter finds the held-out documents no better than its base;"
            " try more pairs, more --epochs or another --learning-rate"
        )
    elif not result.left and card.role == "embedder":
        output.hint(
            f"to use it: qvsearch index PATH --adapter {quote(str(folder))} -l NEW-LIBRARY", quiet
        )
