"""Match models and libraries: what a new library is made with, which model an old one needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library, check_place
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import default_folder
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT
from qvsearch.models.registry import (
    DEFAULT_MODEL,
    DEFAULT_RERANKER,
    DEMO,
    DEMO_RERANKER,
    EMBEDDER,
    RERANKER,
    Weights,
    check_dim,
    fingerprint,
    resolve,
    role_of,
)
from qvsearch.runtime.client import WarmEmbedder, WarmReranker
from qvsearch.runtime.query_cache import CachedEmbedder
from qvsearch.runtime.sockets import Kept, find_keeper
from qvsearch.types import Detail, Dtype, Fingerprint, Hub, Precision, Stored, VideoMode

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Reranker


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user says of models; None leaves it to the library, or for a new one to us."""

    model: str | None = None
    dim: int | None = None
    detail: Detail | None = None
    device: str | None = None
    dtype: str | None = None
    hub: str = Hub.HUGGINGFACE
    video_mode: VideoMode | None = None
    store: Stored | None = None


def open_library(folder: Path, choice: Choice) -> Library:
    """Open a library that was made as chosen; raises QvsearchError for another or none."""
    library = Library.open(folder)
    made = library.fingerprint
    for option, asked, kept in (
        # a folder may hold the library's model by another name: load_embedder looks inside
        ("--model", None if _is_folder(choice.model) else choice.model, made.model),
        ("--dim", choice.dim, made.dim),
        ("--detail", choice.detail, made.detail),
        ("--video-mode", choice.video_mode, made.video_mode),
        ("--store", choice.store, library.store),
    ):
        if asked not in (None, kept):
            raise QvsearchError(
                f"the library {folder} was made with {option} {kept}, not {asked};"
                " leave the option out, or name another --library"
            )
    check_version(library)
    return library


def check_version(library: Library) -> None:
    """Raise QvsearchError for a library whose vectors this version of qvsearch cannot make."""
    made = library.fingerprint
    for what, kept, now in (
        ("instruction", repr(made.instruction), repr(DOCUMENT_INSTRUCTION)),
        ("prompt layout", made.prompt_layout, PROMPT_LAYOUT),
        ("preprocessing", made.preprocessing, PREPROCESSING),
    ):
        if kept != now:
            raise QvsearchError(
                f"the library {library.folder} was made with {what} {kept}, this qvsearch has"
                f" {now}; index into a new --library"
            )


def open_or_create(folder: Path, choice: Choice) -> Library:
    """Open a library, or make it with the chosen model, downloading that if need be.

    A new one gets $QVSEARCH_MODEL or the 2B model, and low detail where only a CPU embeds. Raises
    QvsearchError, before any download, if no library can be made in the folder.
    """
    if Library.exists(folder):
        library = open_library(folder, choice)
        _match_precision(library, choice)
        return library
    model = new_model(choice)
    check_new(folder, model)
    if role_of(model) == RERANKER:
        raise QvsearchError(f"{model} embeds nothing; it is for: search --reranker")
    weights = resolve(model, choice.hub)
    dim = check_dim(weights, choice.dim)
    precision = _precision(choice.dtype) or Precision.FLOAT
    if precision == Precision.INT8:
        check_int8(choice.device)
    made = fingerprint(weights, dim, new_detail(choice), new_video_mode(choice), precision)
    return Library.create(folder, made, choice.store or Stored.FLOAT16)


def check_new(folder: Path, model: str) -> None:
    """Raise QvsearchError if no new library with the model can be made there; writes nothing."""
    check_place(folder)
    if model == DEMO and folder == default_folder():
        raise QvsearchError(
            "the demo model knows only its drawn world, and the default library would keep it;"
            " name another library: -l NAME; or see what the model does: qvsearch demo"
        )


def _match_precision(library: Library, choice: Choice) -> None:
    """See that documents will be embedded as those that are there; queries may be otherwise.

    Before its first commit, as after a refused comparison, a library takes the chosen one.
    """
    made, asked = library.fingerprint, _precision(choice.dtype)
    if asked not in (None, made.precision):
        if library.generation:
            kept = Dtype.INT8 if made.precision == Precision.INT8 else "float32, or a half of it"
            raise QvsearchError(
                f"the library {library.folder} was made with --dtype {kept}, not {choice.dtype};"
                " leave the option out, or name another --library"
            )
        made = replace(made, precision=asked)
    if made.precision == Precision.INT8:
        check_int8(choice.device)
    if made != library.fingerprint:
        library.make_anew(made)


def check_int8(device: str | None) -> None:
    """Raise QvsearchError where int8 does not run on the device, or on the best one here."""
    from qvsearch.models.devices import pick_device
    from qvsearch.models.int8 import check_kernels

    check_kernels(pick_device(device))


def _precision(dtype: str | None) -> Precision | None:
    if dtype is None:
        return None
    return Precision.INT8 if dtype == Dtype.INT8 else Precision.FLOAT


def new_model(choice: Choice) -> str:
    """Return the model that a new library gets."""
    return choice.model or os.environ.get("QVSEARCH_MODEL") or DEFAULT_MODEL


def new_detail(choice: Choice) -> Detail:
    """Return the detail that a new library gets."""
    from qvsearch.models.devices import pick_device

    if choice.detail is not None:
        return choice.detail
    return Detail.LOW if pick_device(choice.device).type == "cpu" else Detail.MEDIUM


def new_video_mode(choice: Choice) -> VideoMode:
    """Return what the segments of videos are in a new library."""
    return choice.video_mode or VideoMode.FRAMES


def kept_embedder(folder: Path, choice: Choice) -> tuple[Kept, str]:
    """Return what a warm process is to keep loaded, and the model's name.

    It is the chosen model, or a library's, of which only the manifest is read. Raises QvsearchError
    where there is neither.
    """
    made = None
    if choice.model is None or Library.exists(folder):
        made = read_committed(folder).fingerprint
    weights = resolve(choice.model or (made.model if made else DEFAULT_MODEL), choice.hub)
    if made is not None and choice.model is None:
        _check_weights(made, weights)
    if made is not None and made.revision == weights.revision:
        return _kept(made, choice), weights.name
    return Kept(EMBEDDER, weights.revision, choice.device, choice.dtype), weights.name


def kept_reranker(model: str, choice: Choice) -> tuple[Kept, str]:
    """Return what a warm process is to keep loaded for `--rerank`, and the reranker's name."""
    weights = _reranker(model, choice)
    return Kept(RERANKER, weights.revision, choice.device, choice.dtype), weights.name


def query_embedder(
    made: Fingerprint, choice: Choice, cold: Callable[[float], None] = lambda _: None
) -> Embedder:
    """Return what embeds queries of a library, loading its model only for what is not in the cache.

    A vector is kept for the device and dtype that were asked for. `cold` is told how many seconds
    it took where the model was loaded in this process.
    """
    # of a query only its pixels depend on the detail, and nothing on how files are cut into parts
    decides = replace(made, detail=Detail.LOW, video_mode=VideoMode.FRAMES)
    _check_revision(made, choice)
    return CachedEmbedder(
        lambda: load_embedder(made, choice, cold),
        made.dim,
        decides,
        choice.device,
        choice.dtype,
        detail=made.detail,
    )


def own_embedder(library: Library) -> Embedder:
    """Return what embeds queries of a library; raises QvsearchError for one of another version."""
    check_version(library)
    return query_embedder(library.fingerprint, Choice())


def load_embedder(
    made: Fingerprint, choice: Choice, cold: Callable[[float], None] = lambda _: None
) -> Embedder:
    """Return the very model that a library was made with, in a warm process where there is one.

    The chosen model may say where it is now. It computes as the library's vectors were, unless
    another dtype is chosen, or the device, which then can only be asked queries, has no int8.
    `cold` is as for `query_embedder`.
    """
    _check_revision(made, choice)

    def load() -> Embedder:
        started = time.monotonic()
        model = choice.model or made.model
        _check_weights(made, resolve(model, choice.hub))
        from qvsearch.models.devices import own_dtype
        from qvsearch.runtime.local import LocalEmbedder

        dtype = choice.dtype or own_dtype(made.precision, choice.device)
        embedder = LocalEmbedder(model, choice.device, dtype, made.dim, made.detail)
        cold(time.monotonic() - started)
        return embedder

    connection = find_keeper(_kept(made, choice))
    if connection is None:
        return load()
    return WarmEmbedder(connection, made.dim, load, made.detail)


def _kept(made: Fingerprint, choice: Choice) -> Kept:
    """Return what a warm process keeps for a library."""
    precision = made.precision if choice.dtype is None else Precision.FLOAT
    return Kept(EMBEDDER, made.revision, choice.device, choice.dtype, precision)


def find_reranker(model: str | None, made: Fingerprint, choice: Choice) -> Callable[[], Reranker]:
    """Fetch a reranker, a hub's id or a local folder, else the library's own; return what loads it.

    A library of the demo's model has the demo's reranker, any other the 2B one. It is that in a
    warm process where there is one. Raises QvsearchError where it cannot be had, before anything
    else has cost its time.
    """
    model = model or (DEMO_RERANKER if made.model == DEMO else DEFAULT_RERANKER)
    weights = _reranker(model, choice)

    def load_here() -> Reranker:
        from qvsearch.runtime.local import LocalReranker

        return LocalReranker(model, choice.device, choice.dtype)

    def load() -> Reranker:
        connection = find_keeper(Kept(RERANKER, weights.revision, choice.device, choice.dtype))
        return load_here() if connection is None else WarmReranker(connection, load_here)

    return load


def _reranker(model: str, choice: Choice) -> Weights:
    """Return a reranker's files, downloading them if need be."""
    if role_of(model) == EMBEDDER:
        raise QvsearchError(f"{model} is no reranker; leave out --reranker, or name one")
    return resolve(model, choice.hub)


def _check_revision(made: Fingerprint, choice: Choice) -> None:
    """Refuse a chosen model that is another than the library's; the library's own needs no look."""
    if choice.model is not None:
        _check_weights(made, resolve(choice.model, choice.hub))


def _check_weights(made: Fingerprint, weights: Weights) -> None:
    if weights.revision != made.revision:
        raise QvsearchError(
            f"the library was made with {made.model} at revision {made.revision},"
            f" not {weights.name} at {weights.revision}; index into a new --library"
        )


def _is_folder(model: str | None) -> bool:
    return model is not None and Path(model).is_dir()
