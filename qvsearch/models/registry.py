"""Finds a model's files by its name: a hub's download, a local folder, or the packaged demo."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError
from qvsearch.models import checkpoint, hubs
from qvsearch.models.adapters import check_base, is_adapter, read_adapter
from qvsearch.models.gguf import is_gguf
from qvsearch.types import Detail, Fingerprint, Precision, VideoMode

DEFAULT_MODEL = "Qwen/Qwen3-VL-Embedding-2B"
DEFAULT_RERANKER = "Qwen/Qwen3-VL-Reranker-2B"
DEFAULT_GENERATOR = "Qwen/Qwen3-VL-2B-Instruct"
DEMO = "demo"
ST = "st:"  # before the names of models that sentence-transformers loads
DEMO_RERANKER = "demo-reranker"
DEMO_FOLDER = Path(__file__).parent.parent / "demo" / "checkpoint"
RERANKER_FOLDER = DEMO_FOLDER.with_name("reranker")
SMALLEST_DIM = 64  # the model is trained for any dimension from here up

EMBEDDER = "embedder"
RERANKER = "reranker"
GENERATOR = "generator"

PACKAGED = {DEMO: (EMBEDDER, DEMO_FOLDER), DEMO_RERANKER: (RERANKER, RERANKER_FOLDER)}

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A supported model; `revision` is its commit on Hugging Face."""

    role: str
    parameters: int
    dim: int | None
    revision: str


MODELS = {
    "Qwen/Qwen3-VL-Embedding-2B": HubModel(
        EMBEDDER, 2_127_532_032, 2048, "9f2f7e710d6d81056aa5c0a4f04764fec6bb7bda"
    ),
    "Qwen/Qwen3-VL-Embedding-8B": HubModel(
        EMBEDDER, 8_144_793_840, 4096, "2c4565515e0f265c6511776e7193b22c0968ddc7"
    ),
    "Qwen/Qwen3-VL-Reranker-2B": HubModel(
        RERANKER, 2_127_532_032, None, "4bd860ac4f15ad1897a214615cccc700f8f71818"
    ),
    "Qwen/Qwen3-VL-Reranker-8B": HubModel(
        RERANKER, 8_767_123_696, None, "b212dc8c91a8164aef1ea2de9c1a867611e75c04"
    ),
    "Qwen/Qwen3-VL-2B-Instruct": HubModel(
        GENERATOR, 2_127_532_032, None, "89644892e4d85e24eaac8bacfd4f463576704203"
    ),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A complete checkpoint on this disk, and the adapter to merge into it, if any.

    `revision` is the hub's commit or, for files without one, a hash of their content. With an
    adapter it ends in `+` and the adapter's hash.
    """

    folder: Path
    name: str
    revision: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """A supported model and its place; `size` is in bytes, `folder` is None before a download."""

    name: str
    role: str
    parameters: int
    dim: int | None
    size: int
    folder: Path | None


def resolve(model: str, hub: str = Hub.HUGGINGFACE, adapter: str | Path | None = None) -> Weights:
    """Return the checkpoint of a hub id, a local folder or a name in PACKAGED.

    Without a complete copy on this disk, a hub's model is downloaded from `hub`, and its bytes are
    compared with the hub's hashes. With one, no network is used. `adapter` is the folder of an
    adapter of that model; as `model`, it stands for its base and itself. Raises QvsearchError with
    a remedy if there is no such checkpoint, or for an adapter of another one.
    """
    return _resolved(model, hub, adapter, _resolve_base)


def describe(model: str, hub: str = Hub.HUGGINGFACE, adapter: str | Path | None = None) -> Weights:
    """Return a checkpoint like `resolve`, of which only the texts must be on this disk.

    These are the configuration and the tokenizer; without them they are downloaded. The weights are
    somewhere else, e.g. on a server.
    """
    return _resolved(model, hub, adapter, _describe_base)


def _resolved(
    model: str, hub: str, adapter: str | Path | None, find_base: Callable[[str, str], Weights]
) -> Weights:
    if is_adapter(model):
        if adapter is not None:
            raise QvsearchError(f"{model} is an adapter, and so is {adapter}; give one of them")
        model, adapter = read_adapter(Path(model)).base, model
    if adapter is None:
        return find_base(model, hub)
    read = read_adapter(Path(adapter))
    base = find_base(model, hub)
    check_base(read, base.name, base.revision)
    return replace(base, revision=f"{base.revision}+{read.digest}", adapter=read.folder)


def base_of(adapter: str | Path) -> str:
    """Return the name of an adapter's base model; raises QvsearchError without one."""
    return read_adapter(Path(adapter)).base


def _resolve_base(model: str, hub: str) -> Weights:
    local = find(model)
    if local is not None:
        return local
    try:
        folder = hubs.download(model, _pinned(model), hub)
    except hubs.NotHere as error:
        raise QvsearchError(
            f"the model {model} is not on this computer: {error}; {_remedy(model)}"
        ) from error
    refuse_damaged(folder, model)
    return _downloaded(folder, model)


def _describe_base(model: str, hub: str) -> Weights:
    local = find(model)
    if local is not None:
        return local
    folder = hubs.find(model, _pinned(model))
    try:
        if folder is None or not all((folder / name).exists() for name in checkpoint.TEXTS):
            folder = hubs.download(model, _pinned(model), hub, hubs.TEXTS)
    except hubs.NotHere as error:
        raise QvsearchError(
            f"the tokenizer of the model {model} is not on this computer: {error}; {_remedy(model)}"
        ) from error
    if not _COMMIT.fullmatch(folder.name):
        raise QvsearchError(
            f"{hub} does not say which commit of {model} this is; use --hub {Hub.HUGGINGFACE}"
        )
    checkpoint.check_texts(folder)
    return Weights(folder, model, folder.name)


def find(model: str) -> Weights | None:
    """Return the complete checkpoint of a model like `resolve`, without network; None without one.

    Raises QvsearchError if `model` is neither a model's name nor a folder.
    """
    if model in PACKAGED or Path(model).is_dir():
        folder = PACKAGED[model][1] if model in PACKAGED else Path(model).resolve()
        name = model if model in PACKAGED else str(folder)
        checkpoint.check_folder(folder)
        return Weights(folder, name, checkpoint.digest(folder))
    if is_gguf(model):
        raise QvsearchError(
            f"{model} is a GGUF file, which only makes vectors of its libraries; name another model"
        )
    if model.startswith(ST):
        raise QvsearchError(
            f"{model} is a model of sentence-transformers, which this command does not run;"
            " give a Qwen3-VL model"
        )
    if not HUB_ID.fullmatch(model):
        raise QvsearchError(
            f"no model {model!r}: it is neither {' nor '.join(map(repr, PACKAGED))}, nor a folder"
            f" that exists, nor a hub's OWNER/NAME such as {DEFAULT_MODEL}"
        )
    folder_of_hub = hubs.find(model, _pinned(model))
    if folder_of_hub is None:
        return None
    try:
        return _downloaded(folder_of_hub, model)
    except checkpoint.IncompleteCheckpoint:  # a client shows the files that it has so far
        return None


def pull(model: str, hub: str = Hub.HUGGINGFACE) -> Weights:
    """Download a hub's model if it is not on this disk yet.

    The hub's client resumes a broken connection. After an interruption of the program, complete
    files stay.
    """
    return resolve(model, hub)


def verify(model: str) -> list[str]:
    """Read every byte of a downloaded model; return its problems, a line each."""
    weights = find(model)
    if weights is None:
        raise QvsearchError(f"the model {model} is not on this computer; {_remedy(model)}")
    return checkpoint.problems(weights.folder)


def has_hashes(model: str) -> bool:
    """Return whether `verify` can compare content: only a hub's cache keeps the hub's hashes."""
    weights = find(model)
    return weights is not None and any(path.is_symlink() for path in weights.folder.iterdir())


def role_of(model: str) -> str | None:
    """Return the role of a supported model; None for others."""
    if model in PACKAGED:
        return PACKAGED[model][0]
    return MODELS[model].role if model in MODELS else None


def list_models() -> list[ModelState]:
    """Return the supported models, the demo's first; no network is used."""
    states = []
    for name, (role, folder) in PACKAGED.items():
        states.append(
            ModelState(
                name=name,
                role=role,
                parameters=checkpoint.count_parameters(folder),
                dim=hidden_size(Weights(folder, name, "")) if role == EMBEDDER else None,
                size=sum(path.stat().st_size for path in folder.iterdir()),
                folder=folder,
            )
        )
    for name, known in MODELS.items():
        weights = find(name)
        place = None if weights is None else weights.folder
        size = 2 * known.parameters  # published as bfloat16
        states.append(ModelState(name, known.role, known.parameters, known.dim, size, place))
    return states


def hidden_size(weights: Weights) -> int:
    """Return the length of the model's full vectors."""
    return checkpoint.hidden_width(weights.folder)


def check_dim(weights: Weights, dim: int | None) -> int:
    """Return the dimension to use; raises QvsearchError outside 64 to the model's own."""
    largest = hidden_size(weights)
    if dim is None:
        return largest
    if not SMALLEST_DIM <= dim <= largest:
        raise QvsearchError(f"--dim {dim} is outside {SMALLEST_DIM} to {largest} of {weights.name}")
    return dim


def fingerprint(
    weights: Weights,
    dim: int,
    detail: Detail,
    video_mode: VideoMode = VideoMode.FRAMES,
    precision: Precision = Precision.FLOAT,
    document_detail: Detail | None = None,
) -> Fingerprint:
    """Return everything that decides the vectors of this model at a dimension and a detail."""
    from qvsearch.models.patches import PREPROCESSING
    from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT

    return Fingerprint(
        model=weights.name,
        revision=weights.revision,
        dim=dim,
        detail=detail,
        instruction=DOCUMENT_INSTRUCTION,
        prompt_layout=PROMPT_LAYOUT,
        preprocessing=PREPROCESSING,
        video_mode=video_mode,
        precision=precision,
        adapter=None if weights.adapter is None else str(weights.adapter),
        document_detail=document_detail,
    )


def check_inputs(fingerprint: Fingerprint, what: str, other: str) -> None:
    """Raise QvsearchError for vectors of inputs that this version of qvsearch does not make.

    `what` has the vectors; the remedy is a new `other`.
    """
    from qvsearch.models.patches import KNOWN_PREPROCESSING
    from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT

    for name, own, known in (
        ("instruction", fingerprint.instruction, (DOCUMENT_INSTRUCTION,)),
        ("prompt layout", fingerprint.prompt_layout, (PROMPT_LAYOUT,)),
        ("preprocessing", fingerprint.preprocessing, KNOWN_PREPROCESSING),
    ):
        if own not in known:
            raise QvsearchError(
                f"{what} was made with {name} {own!r}, this qvsearch has"
                f" {' and '.join(map(repr, known))}; index into a new {other}"
            )


def _downloaded(folder: Path, name: str) -> Weights:
    """Describe a hub's download; Hugging Face's client names the folder after the commit."""
    checkpoint.check_folder(folder)
    is_commit = _COMMIT.fullmatch(folder.name)
    return Weights(folder, name, folder.name if is_commit else checkpoint.digest(folder))


def refuse_damaged(folder: Path, model: str) -> None:
    """Remove files that differ from the hub's hashes, so that they are fetched anew, and raise."""
    damaged = checkpoint.damaged_files(folder)
    for path in damaged:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    if damaged:
        names = ", ".join(path.name for path in damaged)
        raise QvsearchError(
            f"{names} of the model {model} arrived damaged and was removed; fetch it again with:"
            f" qvsearch models pull {model}"
        )


def _pinned(model: str) -> str | None:
    """Return the commit to download; None is the main branch at the time of the download."""
    known = MODELS.get(model)
    return None if known is None else known.revision


def _remedy(model: str) -> str:
    option, trial = {
        RERANKER: ("--reranker", f"qvsearch with --reranker {DEMO_RERANKER}"),
        GENERATOR: ("--generator", "a server of your own: --chat-server URL"),
    }.get(role_of(model) or "", ("--model", "it first: qvsearch demo"))
    return (
        f"with a network, run: qvsearch models pull {model};"
        f" or name a copy: {option} FOLDER; or try {trial}"
    )
