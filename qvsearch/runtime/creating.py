"""Opens the library that is indexed into, or creates it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.library.creation import check_place
from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import default_folder
from qvsearch.models.registry import DEMO, GENERATOR, RERANKER, role_of
from qvsearch.runtime import backends
from qvsearch.runtime.chosen import (
    new_model,
    precision_of,
)
from qvsearch.runtime.loading import model_fingerprint, open_library
from qvsearch.types import Dtype, Precision, Stored

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice


def open_or_create(folder: Path, choice: Choice) -> Library:
    """Open a library, or create it with the chosen model, which is downloaded if necessary.

    A new one gets $QVSEARCH_MODEL or the 2B model, and low detail if only a CPU embeds. Raises
    QvsearchError, before any download, if no library can be created in the folder.
    """
    if Library.exists(folder):
        _take_options(folder, choice)
        library = open_library(folder, choice)
        _match_precision(library, choice)
        return library
    model = new_model(choice)
    check_new(folder, model)
    if role_of(model) == RERANKER:
        raise QvsearchError(f"{model} is a reranker; use it with: search --reranker {model}")
    if role_of(model) == GENERATOR:
        raise QvsearchError(f"{model} writes answers; use it with: ask --generator {model}")
    fingerprint = model_fingerprint(model, choice)
    if fingerprint.precision == Precision.INT8 and not choice.servers:
        check_int8(choice.device)
    return Library.create(folder, fingerprint, choice.store or Stored.FLOAT16)


def check_new(folder: Path, model: str) -> None:
    """Raise QvsearchError if no library with the model can be created there; nothing is written."""
    check_place(folder)
    check_default(folder, model)


def check_default(folder: Path, model: str) -> None:
    """Raise QvsearchError if the folder is the default library's, and the model is the demo's."""
    if model == DEMO and folder == default_folder():
        raise QvsearchError(
            "the demo model was trained on its drawn world only, and the default library would keep"
            " it; name another library: -l NAME; or try the model with: qvsearch demo"
        )


def _take_options(folder: Path, choice: Choice) -> None:
    """Give chosen options to a library without any commit, e.g. after a server was refused."""
    manifest = read_committed(folder)
    fingerprint = manifest.fingerprint
    if manifest.generation or backends.backend_of(fingerprint.model) is not None:
        return
    detail = choice.detail or fingerprint.detail
    pages = choice.document_detail or fingerprint.document_detail
    taken = replace(
        fingerprint,
        detail=detail,
        video_mode=choice.video_mode or fingerprint.video_mode,
        document_detail=None if pages is detail else pages,
    )
    if taken != fingerprint:
        Library.open(folder).make_anew(taken)


def _match_precision(library: Library, choice: Choice) -> None:
    """Raise QvsearchError if documents would be embedded in another precision than the library's.

    Before its first commit, e.g. after a failed comparison, a library takes the chosen precision.
    """
    fingerprint, chosen = library.fingerprint, precision_of(choice.dtype)
    if backends.make_anew(library, choice):
        return
    if chosen not in (None, fingerprint.precision):
        if library.generation:
            is_int8 = fingerprint.precision == Precision.INT8
            own = Dtype.INT8 if is_int8 else "float32, or a half of it"
            raise QvsearchError(
                f"the library {library.folder} was made with --dtype {own}, not {choice.dtype};"
                " leave the option out, or name another --library"
            )
        fingerprint = replace(fingerprint, precision=chosen)
    if fingerprint.precision == Precision.INT8 and not choice.servers:
        check_int8(choice.device)
    if fingerprint != library.fingerprint:
        library.make_anew(fingerprint)


def check_int8(device: str | None) -> None:
    """Raise QvsearchError if int8 does not run on the device (default: the best one here)."""
    from qvsearch.models.devices import pick_device
    from qvsearch.models.int8 import check_kernels

    check_kernels(pick_device(device))
