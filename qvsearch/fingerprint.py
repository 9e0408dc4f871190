"""Match models and libraries: what a new library is made with, which model an old one needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.changes import resolve as find_targets
from qvsearch.errors import QvsearchError
from qvsearch.library import Library
from qvsearch.models.vision import PREPROCESSING
from qvsearch.models.weights import (
    DEFAULT_MODEL,
    DEFAULT_RERANKER,
    DEMO,
    MODELS,
    RERANKER,
    check_dim,
    fingerprint,
    resolve,
)
from qvsearch.prompt import PROMPT_LAYOUT
from qvsearch.types import Detail, Dtype, Fingerprint, Hub, Precision, VideoMode

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
    ):
        if asked not in (None, kept):
            raise QvsearchError(
                f"the library {folder} was made with {option} {kept}, not {asked};"
                " leave the option out, or name another --library"
            )
    for what, kept, now in (
        ("prompt layout", made.prompt_layout, PROMPT_LAYOUT),
        ("preprocessing", made.preprocessing, PREPROCESSING),
    ):
        if kept != now:
            raise QvsearchError(
                f"the library {folder} was made with {what} {kept}, this qvsearch has {now};"
                " index into a new --library"
            )
    return library


def open_or_create(folder: Path, choice: Choice, paths: Sequence[bytes]) -> Library:
    """Open a library, or make it with the chosen model, downloading that if need be.

    A new one gets $QVSEARCH_MODEL or the 2B model, and low detail where only a CPU embeds. Raises
    QvsearchError, before any download, where one of the paths to be indexed does not exist.
    """
    if Library.exists(folder):
        library = open_library(folder, choice)
        _match_precision(library, choice)
        return library
    find_targets([], paths)
    weights = resolve(new_model(choice), choice.hub)
    dim = check_dim(weights, choice.dim)
    precision = _precision(choice.dtype) or Precision.FLOAT
    if precision == Precision.INT8:
        check_int8(choice.device)
    made = fingerprint(weights, dim, new_detail(choice), new_video_mode(choice), precision)
    return Library.create(folder, made)


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
    from qvsearch.models.network import pick_device, pick_dtype

    pick_dtype(Dtype.INT8, pick_device(device))


def _precision(dtype: str | None) -> Precision | None:
    if dtype is None:
        return None
    return Precision.INT8 if dtype == Dtype.INT8 else Precision.FLOAT


def new_model(choice: Choice) -> str:
    """Return the model that a new library gets."""
    return choice.model or os.environ.get("QVSEARCH_MODEL") or DEFAULT_MODEL


def new_detail(choice: Choice) -> Detail:
    """Return the detail that a new library gets."""
    from qvsearch.models.network import pick_device

    if choice.detail is not None:
        return choice.detail
    return Detail.LOW if pick_device(choice.device).type == "cpu" else Detail.MEDIUM


def new_video_mode(choice: Choice) -> VideoMode:
    """Return what the segments of videos are in a new library."""
    return choice.video_mode or VideoMode.FRAMES


def load_embedder(made: Fingerprint, choice: Choice) -> Embedder:
    """Load the very model that a library was made with; the chosen one may say where it is now.

    It computes as the library's vectors were, unless another dtype is chosen, or the device, which
    then can only be asked queries, has no int8.
    """
    model = choice.model or made.model
    weights = resolve(model, choice.hub)
    if weights.revision != made.revision:
        raise QvsearchError(
            f"the library was made with {made.model} at revision {made.revision},"
            f" not {weights.name} at {weights.revision}; index into a new --library"
        )
    from qvsearch.backends.local import LocalEmbedder

    dtype = choice.dtype or own_dtype(made, choice)
    return LocalEmbedder(model, choice.device, dtype, made.dim)


def own_dtype(made: Fingerprint, choice: Choice) -> Dtype | None:
    """Return what a library's own vectors are computed with where one looks; None for floats."""
    from qvsearch.models.network import pick_device

    is_int8 = made.precision == Precision.INT8 and pick_device(choice.device).type == "cpu"
    return Dtype.INT8 if is_int8 else None


def find_reranker(model: str | None, choice: Choice) -> Callable[[], Reranker]:
    """Fetch a reranker, a hub id, a local folder or the 2B one; return what loads it.

    Raises QvsearchError where it cannot be had, before anything else has cost its time.
    """
    model = model or DEFAULT_RERANKER
    if model == DEMO or (model in MODELS and MODELS[model].role != RERANKER):
        raise QvsearchError(f"{model} is no reranker; leave out --reranker, or name one")
    resolve(model, choice.hub)

    def load() -> Reranker:
        from qvsearch.backends.local import LocalReranker

        return LocalReranker(model, choice.device, choice.dtype)

    return load


def _is_folder(model: str | None) -> bool:
    return model is not None and Path(model).is_dir()
