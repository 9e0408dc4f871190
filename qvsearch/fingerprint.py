"""Match models and libraries: what a new library is made with, which model an old one needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    DEMO_RERANKER,
    EMBEDDER,
    RERANKER,
    check_dim,
    fingerprint,
    resolve,
    role_of,
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
    find_targets([], paths)
    model = new_model(choice)
    if role_of(model) == RERANKER:
        raise QvsearchError(f"{model} embeds nothing; it is for: search --reranker")
    weights = resolve(model, choice.hub)
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


def load_embedder(made: Fingerprint, choice: Choice) -> Embedder:
    """Load the very model that a library was made with; the chosen one may say where it is now."""
    model = choice.model or made.model
    weights = resolve(model, choice.hub)
    if weights.revision != made.revision:
        raise QvsearchError(
            f"the library was made with {made.model} at revision {made.revision},"
            f" not {weights.name} at {weights.revision}; index into a new --library"
        )
    from qvsearch.backends.local import LocalEmbedder

    return LocalEmbedder(model, choice.device, choice.dtype, made.dim)


def find_reranker(model: str | None, made: Fingerprint, choice: Choice) -> Callable[[], Reranker]:
    """Fetch a reranker, a hub's id or a local folder, else the library's own; return what loads it.

    A library of the demo's model has the demo's reranker, any other the 2B one. Raises
    QvsearchError where it cannot be had, before anything else has cost its time.
    """
    model = model or (DEMO_RERANKER if made.model == DEMO else DEFAULT_RERANKER)
    if role_of(model) == EMBEDDER:
        raise QvsearchError(f"{model} is no reranker; leave out --reranker, or name one")
    resolve(model, choice.hub)

    def load() -> Reranker:
        from qvsearch.backends.local import LocalReranker

        return LocalReranker(model, choice.device, choice.dtype)

    return load


def _is_folder(model: str | None) -> bool:
    return model is not None and Path(model).is_dir()
