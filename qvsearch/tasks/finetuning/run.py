"""A run of fine-tuning, from the data's file to the adapter's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder
from qvsearch.models import adapters
from qvsearch.models.devices import dtype_name, pick_device, pick_dtype
from qvsearch.models.network import Network
from qvsearch.models.registry import EMBEDDER, RERANKER, Weights, hidden_size, resolve, role_of
from qvsearch.tasks.finetuning import card as cards
from qvsearch.tasks.finetuning.batches import Reader
from qvsearch.tasks.finetuning.card import write_plot
from qvsearch.tasks.finetuning.data import TrainingData, read_pairs, split
from qvsearch.tasks.finetuning.loop import Callbacks, Course, Training
from qvsearch.tasks.finetuning.lora import Lora, check_installed
from qvsearch.tasks.finetuning.objectives import Contrastive, YesNo, answers_of
from qvsearch.tasks.finetuning.settings import Settings, matryoshka_dims
from qvsearch.tasks.finetuning.state import (
    STATE,
    Point,
    State,
    read_state,
    remove_state,
    write_state,
)
from qvsearch.types import Detail, Dtype, Skipped
from qvsearch.version import __version__

if TYPE_CHECKING:
    from qvsearch.tasks.finetuning.objectives import Objective


@dataclass(frozen=True, slots=True)
class Request:
    """What to train with what, and where to write the adapter.

    `model` is that of the role. `images` is the folder of COCO's pictures; `control` are data from
    elsewhere, which are only evaluated. `resume` continues the run in the folder `output`.
    """

    data: Path
    output: Path
    role: str
    model: str
    detail: Detail
    settings: Settings
    images: Path | None = None
    control: Path | None = None
    device: str | None = None
    dtype: str | None = None
    hub: str = Hub.HUGGINGFACE
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run: its card, what was skipped, and the steps left if it was stopped."""

    card: cards.Card
    skipped: tuple[Skipped, ...]
    left: int


def finetune(
    request: Request,
    report: Callable[[int, int, float], None] = lambda *_: None,
    point: Callable[[Point], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train an adapter and write its folder, or continue an unfinished run.

    `report` is called after a step with the steps done, all steps and the loss, and `point` after
    an evaluation. `stop` ends the run after a step, and its state is saved. Raises QvsearchError
    for unusable data, another model or an output folder that exists.
    """
    check_installed()
    _check_output(request)
    instruction = request.settings.instruction
    data = read_pairs(request.data, instruction, request.images)
    control = TrainingData(())
    if request.control is not None:
        control = read_pairs(request.control, instruction, request.images)
    train, held_out = split(data, request.settings.held_out, request.settings.seed)
    course = Course(train, held_out, control.pairs)
    weights = _base(request)
    network = _network(request, weights, course)
    identity = _identity(request, weights, network, data, control)
    state = read_state(request.output, identity) if request.resume else None
    lora = Lora(network, request.settings)
    reader = Reader(request.detail)
    folder = _Folder(request.output, lora, weights, identity)

    def reached(latest: Point, is_best: bool) -> None:
        if is_best:
            folder.write_adapter()
        point(latest)

    objective = _objective(request, weights, network, course)
    training = Training(network, lora, objective, request.settings, reader)
    state = training.train(course, Callbacks(report, reached, folder.write_state, stop), state)
    skipped = (*data.skipped, *control.skipped, *reader.skipped.values())
    card = _card(request, weights, network, lora, state, _used(request, data, course, skipped))
    left = request.settings.steps(len(train)) - state.step
    if not left:
        cards.write_card(request.output, card)
        write_plot(request.output / cards.PLOT, state.history)
        remove_state(request.output)
    return Result(card, skipped, left)


def _used(
    request: Request, data: TrainingData, course: Course, skipped: tuple[Skipped, ...]
) -> cards.Data:
    """Return what of the data was used."""
    control = None if request.control is None else str(request.control)
    counts = len(course.train), len(course.held_out), len(skipped)
    return cards.Data(str(request.data), data.digest, *counts, control)


def _card(
    request: Request,
    weights: Weights,
    network: Network,
    lora: Lora,
    state: State,
    data: cards.Data,
) -> cards.Card:
    return cards.Card(
        role=request.role,
        base=weights.name,
        revision=weights.revision,
        data=data,
        settings=request.settings,
        detail=request.detail.value,
        device=network.device.type,
        dtype=dtype_name(network.dtype),
        dims=_dims(request, weights),
        parameters=lora.count,
        seconds=round(state.seconds, 1),
        best=best_step(state),
        history=state.history,
        versions={"qvsearch": __version__, **{name: version(name) for name in ("torch", "peft")}},
    )


def best_step(state: State) -> int:
    """Return the step with the best score of the trained weights, the last of equals, or 0."""
    trained = [(each.score.mrr, each.step) for each in state.history if each.step > 0]
    return max(trained)[1] if trained else 0


class _Folder:
    """The folder that a run writes."""

    def __init__(self, path: Path, lora: Lora, weights: Weights, identity: dict[str, Any]) -> None:
        self._path, self._lora, self._weights, self._identity = path, lora, weights, identity
        make_folder(path)

    def write_adapter(self) -> None:
        """Write the present weights as the adapter."""
        tensors, settings = self._lora.tensors(), self._lora.settings()
        base = self._weights
        adapters.write_adapter(self._path, tensors, settings, base.name, base.revision)

    def write_state(self, state: State) -> None:
        """Write the state of the run."""
        write_state(self._path, state, self._identity)


def _check_output(request: Request) -> None:
    """Raise QvsearchError if the folder holds anything but an unfinished run to continue."""
    folder = request.output
    if request.resume:
        if (folder / cards.CARD).exists():
            raise QvsearchError(
                f"the run in {folder} is finished; leave out --resume, or name another"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if (folder / STATE).exists():
            raise QvsearchError(
                f"{folder} holds an unfinished run; continue it with --resume, or give a new folder"
            )
        raise QvsearchError(f"{folder} is not empty; give a new folder: -o NEW-FOLDER")


def _base(request: Request) -> Weights:
    """Return the base model, downloaded if necessary."""
    if adapters.is_adapter(request.model):
        raise QvsearchError(
            f"{request.model} is an adapter; merge it first, and train the result:"
            f" qvsearch models merge {quote(request.model)} -o FOLDER"
        )
    other = {EMBEDDER: RERANKER, RERANKER: EMBEDDER}[request.role]
    if role_of(request.model) == other:
        option = "--reranker" if other == RERANKER else "--model"
        raise QvsearchError(f"{request.model} is the other sort of model; give it as {option}")
    return resolve(request.model, request.hub)


def _network(request: Request, weights: Weights, course: Course) -> Network:
    if request.dtype not in (None, Dtype.FLOAT32, Dtype.BFLOAT16):
        raise QvsearchError(f"--dtype {request.dtype} cannot be trained; give float32 or bfloat16")
    device = pick_device(request.device)
    dtype = request.dtype
    if dtype is None:  # gradients leave the range of float16
        best = pick_dtype(None, device, hidden_size(weights))
        dtype = Dtype.BFLOAT16 if dtype_name(best) == Dtype.BFLOAT16 else Dtype.FLOAT32
    network = Network(weights.folder, request.device, dtype)
    pairs = (*course.train, *course.held_out, *course.control)
    inputs = (each for pair in pairs for each in (pair.query, pair.positive, *pair.negatives))
    if request.settings.vision or any(each.images or each.video for each in inputs):
        network.load_vision()
    return network


def _dims(request: Request, weights: Weights) -> tuple[int, ...]:
    return matryoshka_dims(hidden_size(weights)) if request.role == EMBEDDER else ()


def _objective(request: Request, weights: Weights, network: Network, course: Course) -> Objective:
    answers = answers_of((*course.train, *course.held_out, *course.control))
    if request.role == EMBEDDER:
        return Contrastive(network, request.settings, _dims(request, weights), answers)
    yes, no = (network.output_row(weights.folder, token) for token in ("yes", "no"))
    return YesNo(network, request.settings, yes - no, answers)


def _identity(
    request: Request,
    weights: Weights,
    network: Network,
    data: TrainingData,
    control: TrainingData,
) -> dict[str, Any]:
    """Return all that decides the course of a run, in the words of the options."""
    return {
        "role": request.role,
        "model": weights.revision,
        "data": data.digest,
        "control": control.digest,
        "detail": request.detail.value,
        "device": network.device.type,
        "dtype": dtype_name(network.dtype),
        **asdict(request.settings),
    }
