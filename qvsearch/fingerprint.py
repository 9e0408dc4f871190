"""Match models and libraries: what a new library is made with, which model an old one needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.backends.cached import CachedEmbedder
from qvsearch.backends.sockets import Kept, find_keeper
from qvsearch.backends.warm import WarmEmbedder, WarmReranker
from qvsearch.errors import QvsearchError
from qvsearch.library import Library
from qvsearch.manifest import read_committed
from qvsearch.models.vision import PREPROCESSING
from qvsearch.models.weights import (
    DEFAULT_MODEL,
    DEFAULT_RERANKER,
    DEMO,
    EMBEDDER,
    MODELS,
    RERANKER,
    Weights,
    check_dim,
    fingerprint,
    resolve,
)
from qvsearch.prompt import PROMPT_LAYOUT
from qvsearch.types import Detail, Fingerprint, Hub, VideoMode

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
        return open_library(folder, choice)
    from qvsearch.changes import resolve as find_targets  # which queries need not wait for

    find_targets([], paths)
    weights = resolve(new_model(choice), choice.hub)
    dim = check_dim(weights, choice.dim)
    made = fingerprint(weights, dim, new_detail(choice), new_video_mode(choice))
    return Library.create(folder, made)


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


def kept_embedder(folder: Path, choice: Choice) -> tuple[Kept, str]:
    """Return what a warm process is to keep loaded, and the model's name.

    It is the chosen model, or a library's, of which only the manifest is read. Raises QvsearchError
    where there is neither.
    """
    if choice.model is None:
        made = read_committed(folder).fingerprint
        weights = resolve(made.model, choice.hub)
        _check_weights(made, weights)
    else:
        weights = resolve(choice.model, choice.hub)
    return Kept(EMBEDDER, weights.revision, choice.device, choice.dtype), weights.name


def kept_reranker(model: str, choice: Choice) -> tuple[Kept, str]:
    """Return what a warm process is to keep loaded for `--rerank`, and the reranker's name."""
    _, weights = _reranker(model, choice)
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
        lambda: load_embedder(made, choice, cold), made.dim, decides, choice.device, choice.dtype
    )


def load_embedder(
    made: Fingerprint, choice: Choice, cold: Callable[[float], None] = lambda _: None
) -> Embedder:
    """Return the very model that a library was made with, in a warm process where there is one.

    The chosen model may say where it is now. `cold` is as for `query_embedder`.
    """
    _check_revision(made, choice)

    def load() -> Embedder:
        started = time.monotonic()
        model = choice.model or made.model
        _check_weights(made, resolve(model, choice.hub))
        from qvsearch.backends.local import LocalEmbedder

        embedder = LocalEmbedder(model, choice.device, choice.dtype, made.dim)
        cold(time.monotonic() - started)
        return embedder

    kept = Kept(EMBEDDER, made.revision, choice.device, choice.dtype)
    connection = find_keeper(kept)
    return load() if connection is None else WarmEmbedder(connection, made.dim, load)


def find_reranker(model: str | None, choice: Choice) -> Callable[[], Reranker]:
    """Fetch a reranker, a hub id, a local folder or the 2B one; return what loads it.

    It is that in a warm process where there is one. Raises QvsearchError where it cannot be had,
    before anything else has cost its time.
    """
    model, weights = _reranker(model, choice)

    def load_here() -> Reranker:
        from qvsearch.backends.local import LocalReranker

        return LocalReranker(model, choice.device, choice.dtype)

    def load() -> Reranker:
        connection = find_keeper(Kept(RERANKER, weights.revision, choice.device, choice.dtype))
        return load_here() if connection is None else WarmReranker(connection, load_here)

    return load


def _reranker(model: str | None, choice: Choice) -> tuple[str, Weights]:
    """Return a reranker's name and its files, downloading them if need be."""
    model = model or DEFAULT_RERANKER
    if model == DEMO or (model in MODELS and MODELS[model].role != RERANKER):
        raise QvsearchError(f"{model} is no reranker; leave out --reranker, or name one")
    return model, resolve(model, choice.hub)


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
